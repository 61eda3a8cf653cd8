#pragma once
// Gaussian numbers of numpy.random.RandomState(seed).standard_normal, bit for bit: the initial noise of
// generation, so that a seed gives the film it gives with the reference (cosmos-predict2.5,
// imaginaire/utils/misc.py, arch_invariant_rand). Training noise comes from base/rng.h instead.
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>

namespace orrery::flow {

// MT19937 (Matsumoto and Nishimura 1998) with Knuth's one-word initialisation, and the polar method.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed);

  uint32_t next();   // 32 random bits
  double uniform();  // [0, 1), 53 bits
  double standard_normal();

 private:
  void refill();

  static constexpr int kWords = 624;
  std::array<uint32_t, kWords> state_;
  int used_ = kWords;
  std::optional<double> spare_;  // second number of a polar pair
};

// float64 numbers rounded to float32, filled in C order. The seed must lie in [0, 2^32), as numpy demands.
at::Tensor numpy_normal(int64_t seed, at::IntArrayRef shape);

}  // namespace orrery::flow
