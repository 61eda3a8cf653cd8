#pragma once
// The rows of LabelTimes as text and as JSON, for the reports of the benchmarks.
#include <nlohmann/json.hpp>
#include <string>

#include "bench/label_times.h"

namespace orrery {

// "530 TFLOP/s" or "2801 GB/s", by what is known of the row; else nothing.
std::string rate_of(const TimeRow& row);

// "times of a profiled WHAT on rank 0, ..." and a line a row, the first `most` of them; the rest in one.
std::string time_table(const std::vector<TimeRow>& rows, const std::string& what, int64_t most);

nlohmann::ordered_json json_of(const std::vector<TimeRow>& rows);

}  // namespace orrery
