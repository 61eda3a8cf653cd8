#include "base/rng.h"

#include <ATen/ops/empty.h>

#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "base/parallel_for.h"

namespace orrery {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): spreads every input bit over the word.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

float unit_float(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}  // [0, 1)

}  // namespace

Rng::Rng(uint64_t seed, std::string_view purpose, std::initializer_list<uint64_t> numbers) {
  const uint64_t key = mix(seed);
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  tag_ = mix(purpose.size());
  for (const unsigned char letter : purpose) tag_ = mix(tag_ ^ letter);
  for (const uint64_t number : numbers) tag_ = mix(tag_ ^ mix(number));
}

std::array<uint32_t, 4> Rng::block(uint64_t index) const {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               static_cast<uint32_t>(tag_), static_cast<uint32_t>(tag_ >> 32)};
  auto [k0, k1] = key_;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

uint32_t Rng::next() {
  if (used_ == 4) {
    words_ = block(index_++);
    used_ = 0;
  }
  return words_[used_++];
}

double Rng::uniform() {
  const uint64_t high = next() >> 5, low = next() >> 6;
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

double Rng::normal() {
  const double radius = std::sqrt(-2 * std::log1p(-uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

uint64_t Rng::below(uint64_t n) {
  assert(n > 0);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
  for (;;) {
    const uint64_t high = next(), draw = (high << 32) | next();
    if (draw < limit) return draw % n;
  }
}

std::vector<int64_t> Rng::permutation(int64_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[below(i + 1)]);
  return order;
}

// values_of(words) gives the four values of a block; elements [begin, end) of the stream are kept.
template <class Values>
at::Tensor Rng::elements(int64_t begin, int64_t end, const Values& values_of) const {
  at::Tensor out = at::empty({end - begin}, at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  parallel_for(begin / 4, (end + 3) / 4, 4096, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const std::array<float, 4> values = values_of(block(static_cast<uint64_t>(i)));
      for (int64_t at = std::max(begin, 4 * i); at < std::min(end, 4 * i + 4); ++at)
        to[at - begin] = values[static_cast<size_t>(at - 4 * i)];
    }
  });
  return out;
}

at::Tensor Rng::normal_elements(int64_t begin, int64_t end) const {
  return elements(begin, end, [](const std::array<uint32_t, 4>& words) {
    std::array<float, 4> values;
    for (size_t pair = 0; pair < 2; ++pair) {
      const float radius = std::sqrt(-2 * std::log(1 - unit_float(words[2 * pair])));
      const float angle = 2 * std::numbers::pi_v<float> * unit_float(words[2 * pair + 1]);
      values[2 * pair] = radius * std::cos(angle);
      values[2 * pair + 1] = radius * std::sin(angle);
    }
    return values;
  });
}

at::Tensor Rng::uniform_elements(int64_t begin, int64_t end) const {
  return elements(begin, end, [](const std::array<uint32_t, 4>& words) {
    return std::array{unit_float(words[0]), unit_float(words[1]), unit_float(words[2]), unit_float(words[3])};
  });
}

at::Tensor Rng::normal_tensor(at::IntArrayRef shape) const {
  return normal_elements(0, c10::multiply_integers(shape)).view(shape);
}
at::Tensor Rng::uniform_tensor(at::IntArrayRef shape) const {
  return uniform_elements(0, c10::multiply_integers(shape)).view(shape);
}

}  // namespace orrery
