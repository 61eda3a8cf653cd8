// channel_norm of half types against the chain of roundings that the reference's GPU makes, number by number.
#include "ops/channel_norm.h"

#include <ATen/ops/empty_like.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace orrery {
namespace {

constexpr int64_t kPixels = 50;

// x and y: (C, kPixels).
template <class T>
void by_numbers(const T* x, const T* gamma, T* y, int64_t channels, bool has_silu) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(channels)));  // never rounded to T
  for (int64_t p = 0; p < kPixels; ++p) {
    float square = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const auto value = static_cast<float>(x[c * kPixels + p]);
      square += value * value;
    }
    const T norm(std::sqrt(square));
    for (int64_t c = 0; c < channels; ++c) {
      const T unit(static_cast<float>(x[c * kPixels + p]) / static_cast<float>(norm));
      const T scaled(static_cast<float>(unit) * root);
      const T product(static_cast<float>(scaled) * static_cast<float>(gamma[c]));
      const auto v = static_cast<float>(product);
      y[c * kPixels + p] = has_silu ? T(v / (1 + std::exp(-v))) : product;
    }
  }
}

template <class T>
double differing(int64_t channels, at::ScalarType type, bool has_silu) {
  const at::Tensor x = Rng(3, "channel_norm", {0}).normal_tensor({1, channels, 1, 5, 10}).to(type),
                   gamma = Rng(3, "channel_norm", {1}).normal_tensor({channels}).to(type);
  at::Tensor want = at::empty_like(x);
  by_numbers(x.const_data_ptr<T>(), gamma.const_data_ptr<T>(), want.mutable_data_ptr<T>(), channels,
             has_silu);
  const Variable y = has_silu ? ops::channel_norm_silu(Variable(x), Variable(gamma))
                              : ops::channel_norm(Variable(x), Variable(gamma));
  return y.value().ne(want).to(at::kDouble).mean().item<double>();
}

// A norm that the order of its sum rounds the other way changes its pixel, one in hundreds; the root of the
// channels rounded to the type would change a fifth of all numbers.
TEST(ChannelNorm, rounds_after_norm_quotient_and_products_and_nowhere_else) {
  for (const int64_t channels : {8, 20, 96, 192, 384})
    for (const bool has_silu : {false, true}) {
      const double b = differing<c10::BFloat16>(channels, at::kBFloat16, has_silu),
                   h = differing<c10::Half>(channels, at::kHalf, has_silu);
      EXPECT_LT(b, 0.02) << channels << has_silu;
      EXPECT_LT(h, 0.02) << channels << has_silu;
    }
}

}  // namespace
}  // namespace orrery
