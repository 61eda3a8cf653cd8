#pragma once
// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). A stream is named by (seed, purpose, numbers...); value i of a stream depends on nothing else, so
// noise, times, sample order and augmentation do not depend on the number of ranks, threads or on what was
// drawn before.
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace orrery {

class Rng {
 public:
  // purpose: a short constant such as "noise"; numbers: step, sample, ... A different list is an independent
  // stream.
  Rng(uint64_t seed, std::string_view purpose, std::initializer_list<uint64_t> numbers = {});

  std::array<uint32_t, 4> block(uint64_t index) const;  // the index-th four words of the stream

  uint32_t next();                              // uniform 32-bit word
  double uniform();                             // [0, 1), 53 bits
  double normal();                              // N(0, 1) by Box-Muller
  uint64_t below(uint64_t n);                   // uniform in [0, n), unbiased; n > 0
  std::vector<int64_t> permutation(int64_t n);  // Fisher-Yates

  // Whole tensors, float32 on the CPU, filled by several threads; element i depends on the stream and i
  // alone. They start at the stream's beginning whatever next() has consumed.
  at::Tensor normal_tensor(at::IntArrayRef shape) const;
  at::Tensor uniform_tensor(at::IntArrayRef shape) const;  // [0, 1)
  // Elements [begin, end) of the same, flat: a rank makes its part of a tensor alone.
  at::Tensor normal_elements(int64_t begin, int64_t end) const;
  at::Tensor uniform_elements(int64_t begin, int64_t end) const;

 private:
  template <class Values>
  at::Tensor elements(int64_t begin, int64_t end, const Values& values_of) const;

  std::array<uint32_t, 2> key_;
  uint64_t tag_;        // upper half of the counter: the stream's numbers, hashed
  uint64_t index_ = 0;  // next block
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace orrery
