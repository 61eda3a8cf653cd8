#include "bench/step_times.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cassert>

namespace orrery {

std::vector<double> largest_of_ranks(Comm& host, const std::vector<double>& mine) {
  const at::Tensor values = at::empty({static_cast<int64_t>(mine.size())}, at::kDouble);
  std::copy(mine.begin(), mine.end(), values.mutable_data_ptr<double>());
  host.all_reduce(values, ReduceOp::max, "benchmark").wait();
  const double* const begin = values.const_data_ptr<double>();
  return {begin, begin + values.numel()};
}

double median_of(std::vector<double> values) {
  assert(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace orrery
