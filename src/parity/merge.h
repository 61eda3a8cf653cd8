#pragma once
// Golden cases of merging: merge_soup, merge_task_arithmetic, merge_ties, merge_dare_linear, merge_dare_ties.
#include "parity/case.h"

namespace orrery {

// inputs.base.KEY, inputs.model<i>.KEY and for DARE inputs.uniform<i>.KEY to outputs.KEY.
NamedTensors run_merge(const Case& c, at::Device device);

}  // namespace orrery
