#pragma once
// What orrery plan prints.
#include <string>

#include "plan/dry_run.h"

namespace orrery {

// One layout in full: memory by use, kept activations by label, FLOPs, traffic, time. Lines of text.
std::string describe(const PlanReport& report, const Ceilings& ceilings);
// "2 x 4 x 8 (replicate x shard x context), policy none, micro-batch 1"
std::string describe_layout(const PlanReport& report);
// "fits: 45.2 of 80.0 GiB a rank; 8.71 s a step, 33.1 % MFU", or "does not fit: ..."
std::string one_line(const PlanReport& report);

// A row a layout, in the order given; at most `most`.
std::string table_of(const std::vector<PlanReport>& reports, size_t most);

// All of it as JSON: the planned layout (null: none fits) and the best ones.
std::string json_of(const std::vector<PlanReport>& reports, const Ceilings& ceilings);

}  // namespace orrery
