#pragma once
// Plans of memory.policy=auto: what a rank has left for activations, and what its blocks then keep.
#include "plan/dry_run.h"

namespace orrery {

struct AutoRun {
  PlanReport report;
  int64_t budget_bytes = 0;  // for what blocks keep and work with (RecomputeCost)
};

// The least recompute that fits, by planned times. Where nothing fits, the plan of full recompute, which says
// so.
AutoRun auto_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings);

}  // namespace orrery
