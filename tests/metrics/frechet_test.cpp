#include "metrics/frechet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

at::Tensor samples(uint64_t number, at::IntArrayRef shape) {
  return Rng(1, "frechet test", {number}).normal_tensor(shape).to(at::kDouble);
}

FeatureStats gaussian(const at::Tensor& mean, const at::Tensor& variances) {
  return {mean, at::diag(variances)};
}

}  // namespace

TEST(Frechet, of_independent_features_adds_up_means_and_deviations) {
  const auto a = gaussian(at::tensor({0., 1.}, at::kDouble), at::tensor({4., 9.}, at::kDouble));
  const auto b = gaussian(at::tensor({3., 1.}, at::kDouble), at::tensor({1., 0.}, at::kDouble));
  EXPECT_NEAR(frechet_distance(a, b), 9 + 1 + 9, 1e-12);
  EXPECT_NEAR(frechet_distance(b, a), 9 + 1 + 9, 1e-12);
}

TEST(Frechet, is_zero_between_equal_sets_and_knows_no_rotation) {
  const at::Tensor x = samples(0, {40, 6}), y = samples(1, {50, 6}) * 2 + 1;
  const FeatureStats a = feature_stats(x, Covariance::biased), b = feature_stats(y, Covariance::biased);
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-10);
  const double c = std::cos(0.7), s = std::sin(0.7);
  at::Tensor turn = at::diag(at::full({6}, 1., at::kDouble));
  turn[1][1] = c, turn[1][4] = -s, turn[4][1] = s, turn[4][4] = c;
  const double distance = frechet_distance(a, b);
  EXPECT_GT(distance, 1);
  EXPECT_NEAR(frechet_distance(feature_stats(x.matmul(turn), Covariance::biased),
                               feature_stats(y.matmul(turn), Covariance::biased)),
              distance, 1e-9 * distance);
}

TEST(Frechet, covariance_is_over_n_or_n_less_one) {
  const at::Tensor x = at::tensor({1., 3., 5., 7.}, at::kDouble).view({4, 1});
  EXPECT_NEAR(feature_stats(x, Covariance::biased).covariance.item<double>(), 5, 1e-12);
  EXPECT_NEAR(feature_stats(x, Covariance::unbiased).covariance.item<double>(), 20 / 3., 1e-12);
  EXPECT_NEAR(feature_stats(x, Covariance::biased).mean.item<double>(), 4, 1e-12);
}

TEST(Frechet, fewer_samples_than_features_give_a_finite_distance) {
  const auto stats = [](uint64_t number) {
    return feature_stats(samples(number, {5, 30}), Covariance::unbiased);
  };
  const double distance = frechet_distance(stats(0), stats(1));
  EXPECT_TRUE(std::isfinite(distance));
  EXPECT_GT(distance, 0);
  EXPECT_NEAR(frechet_distance(stats(0), stats(0)), 0, 1e-5);
}

TEST(Frechet, refuses_what_is_no_set_of_features) {
  const at::Tensor x = samples(0, {4, 3});
  EXPECT_THROW(feature_stats(x[0], Covariance::biased), Error);
  EXPECT_THROW(feature_stats(x.slice(0, 0, 1), Covariance::unbiased), Error);
  EXPECT_THROW(feature_stats(x.to(at::kInt), Covariance::biased), Error);
  at::Tensor broken = x.clone();
  broken[2][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(feature_stats(broken, Covariance::biased), Error);
  EXPECT_THROW(frechet_distance(feature_stats(x, Covariance::biased),
                                feature_stats(x.slice(1, 0, 2), Covariance::biased)),
               Error);
}

}  // namespace orrery
