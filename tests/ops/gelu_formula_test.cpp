// The formula of the GELU kernels, as the host runs it, against float64.
#include "ops/cuda/gelu_formula.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace orrery {
namespace {

namespace gelu = kernels::gelu;

double distribution(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}
double density(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}
double exact_value(double x) {
  return x * distribution(x);
}
double exact_derivative(double x) {
  return distribution(x) + x * density(x);
}

// Of the terms that add up to the result; below -13 phi may be 0.
double relative_bound(double x) {
  return (20 + (x < 0 ? std::min(x * x, 169.0) : 0)) * 0x1p-24;
}
constexpr double kUnderflow = 0x1p-122;

void expect_close_at(float x) {
  const double bound = relative_bound(x);
  ASSERT_NEAR(gelu::value(x), exact_value(x), bound * std::abs(exact_value(x)) + kUnderflow) << "x = " << x;
  ASSERT_NEAR(gelu::derivative(x), exact_derivative(x),
              bound * (distribution(x) + std::abs(x) * density(x)) + kUnderflow)
      << "x = " << x;
}

TEST(GeluFormula, is_right_to_some_units_in_the_last_place_in_the_negative_tail_too) {
  for (int i = -14 * 8192; i <= 14 * 8192; ++i) expect_close_at(static_cast<float>(i) / 8192);
  for (float x = 1e-44f; x < 1e38f; x *= 1.7f)
    for (const float signed_x : {x, -x}) expect_close_at(signed_x);
  expect_close_at(0);
  expect_close_at(-0.0f);
}

template <class T>
struct Rounded {
  int different = 0, beyond_neighbours = 0;

  void compare(float got, double want) {
    const T g = got, w = static_cast<float>(want);
    if (g == w) return;
    ++different;
    if (std::abs(int{g.x} - int{w.x}) > 1) ++beyond_neighbours;
  }
};

template <class T>
void expect_rounded_right(int few) {
  Rounded<T> value, derivative;
  for (int bits = 0; bits < 65536; ++bits) {
    const float x = T(static_cast<uint16_t>(bits), T::from_bits());
    if (!std::isfinite(x)) continue;
    value.compare(gelu::value(x), exact_value(x));
    derivative.compare(gelu::derivative(x), exact_derivative(x));
  }
  EXPECT_LE(value.different, few);
  EXPECT_EQ(value.beyond_neighbours, 0);
  EXPECT_LE(derivative.different, few);
  EXPECT_EQ(derivative.beyond_neighbours, 0);
}

TEST(GeluFormula, rounds_to_the_exact_results_of_half_types_or_rarely_to_their_neighbours) {
  expect_rounded_right<c10::BFloat16>(4);
  expect_rounded_right<c10::Half>(32);
}

TEST(GeluFormula, gives_nan_where_aten_does_on_gpus) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(gelu::value(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(gelu::value(-kInfinity)));
  EXPECT_TRUE(std::isnan(gelu::value(std::nanf(""))));
  for (const float x : {kInfinity, -kInfinity, std::nanf("")}) EXPECT_TRUE(std::isnan(gelu::derivative(x)));
}

}  // namespace
}  // namespace orrery
