#include "merge/trim.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <vector>

namespace orrery {
namespace {

constexpr int kLowBits = 15;
constexpr uint32_t kLowMask = (1u << kLowBits) - 1;

uint32_t magnitude_bits(double value) {
  return std::bit_cast<uint32_t>(static_cast<float>(std::abs(value)));
}

template <class Visit>
void for_each_magnitude(const at::Tensor& values, const Visit& visit) {
  const double* const data = values.const_data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) visit(magnitude_bits(data[i]));
}

// The bin in which the keep-th largest lies; keep becomes its rank within the bin.
uint32_t bin_of(const std::vector<int64_t>& counts, int64_t& keep) {
  size_t bin = counts.size() - 1;
  for (; bin > 0 && counts[bin] < keep; --bin) keep -= counts[bin];
  return static_cast<uint32_t>(bin);
}

}  // namespace

Cut find_cut(int64_t keep, const ElementStream& stream) {
  assert(keep >= 1);
  std::vector<int64_t> high(size_t{1} << 16), low(size_t{1} << kLowBits);
  stream([&](const at::Tensor& values) {
    for_each_magnitude(values, [&](uint32_t bits) { ++high[bits >> kLowBits]; });
  });
  const uint32_t upper = bin_of(high, keep);
  stream([&](const at::Tensor& values) {
    for_each_magnitude(values, [&](uint32_t bits) {
      if (bits >> kLowBits == upper) ++low[bits & kLowMask];
    });
  });
  const uint32_t lower = bin_of(low, keep);
  return {upper << kLowBits | lower, keep};
}

int64_t count_at(uint32_t threshold, const at::Tensor& values) {
  int64_t count = 0;
  for_each_magnitude(values, [&](uint32_t bits) { count += bits == threshold; });
  return count;
}

void apply_cut(Cut& cut, at::Tensor& values) {
  double* const data = values.mutable_data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    const uint32_t bits = magnitude_bits(data[i]);
    if (bits > cut.threshold || (bits == cut.threshold && cut.ties-- > 0)) continue;
    data[i] = 0;
  }
}

int64_t kept_count(double density, int64_t elements) {
  if (elements == 0) return 0;
  return std::max<int64_t>(1, static_cast<int64_t>(density * static_cast<double>(elements)));
}

}  // namespace orrery
