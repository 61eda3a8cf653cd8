#pragma once
// Sizes in whole steps, as kernels want them.
#include <cstdint>

namespace orrery {

// The least multiple of step (> 0) that is not below n (>= 0).
constexpr int64_t rounded_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

}  // namespace orrery
