#pragma once
// What orrery bench prints.
#include <optional>
#include <string>

#include "bench/op_bench.h"
#include "bench/train_bench.h"
#include "plan/dry_run.h"

namespace orrery {

// What figures are held against; both are missing for a device whose ceilings are not known.
struct Expected {
  std::optional<Ceilings> ceilings = {};
  std::optional<PlanReport> plan = {};
};

// Lines of text; at most `rows` rows of the table of times.
std::string describe(const TrainBench& bench, const Expected& expected, int64_t rows);
// The same figures as one line of JSON.
std::string json_of(const TrainBench& bench, const Expected& expected);

std::string describe(const OpBench& bench);
std::string json_of(const OpBench& bench);

}  // namespace orrery
