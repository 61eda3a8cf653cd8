#include "flow/numpy_random.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "base/error.h"

namespace orrery::flow {

NumpyRandom::NumpyRandom(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < kWords; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
}

void NumpyRandom::refill() {
  constexpr int kOffset = 397;
  for (int i = 0; i < kWords; ++i) {
    const uint32_t joined = (state_[i] & 0x80000000u) | (state_[(i + 1) % kWords] & 0x7fffffffu);
    state_[i] = state_[(i + kOffset) % kWords] ^ (joined >> 1) ^ ((joined & 1u) != 0 ? 0x9908b0dfu : 0u);
  }
  used_ = 0;
}

uint32_t NumpyRandom::next() {
  if (used_ == kWords) refill();
  uint32_t word = state_[used_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

double NumpyRandom::uniform() {
  const uint32_t high = next() >> 5, low = next() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;  // (high 2^26 + low) / 2^53
}

double NumpyRandom::standard_normal() {
  if (spare_) {
    const double value = *spare_;
    spare_.reset();
    return value;
  }
  for (;;) {
    const double x1 = 2.0 * uniform() - 1.0, x2 = 2.0 * uniform() - 1.0;
    const double square = x1 * x1 + x2 * x2;
    if (square >= 1.0 || square == 0.0) continue;
    const double factor = std::sqrt(-2.0 * std::log(square) / square);
    spare_ = factor * x1;
    return factor * x2;
  }
}

at::Tensor numpy_normal(int64_t seed, at::IntArrayRef shape) {
  require(seed >= 0 && seed <= int64_t{UINT32_MAX}, "seed is ", seed, ", wanted a number in [0, 2^32)");
  constexpr int64_t kMostNumbers = int64_t{1} << 31;  // 8 GiB of float32
  int64_t numel = 1;
  for (const int64_t size : shape) {
    require(size >= 0 && (size == 0 || numel <= kMostNumbers / size), "noise of shape ", shape,
            ": wanted sizes >= 0 and at most ", kMostNumbers, " numbers");
    numel *= size;
  }
  at::Tensor out = at::empty(shape, at::kFloat);
  float* const values = out.mutable_data_ptr<float>();
  NumpyRandom random(static_cast<uint32_t>(seed));
  for (int64_t i = 0; i < numel; ++i) values[i] = static_cast<float>(random.standard_normal());
  return out;
}

}  // namespace orrery::flow
