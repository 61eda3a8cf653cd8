#include "optim/grad_clip.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

std::vector<NamedTensor> three_four() {
  return {{"a", at::full({1}, 3.f)}, {"b", at::full({2, 2}, 2.f)}, {"none", {}}};
}  // norm 5
std::vector<NamedTensor> broken() {
  return {{"good", at::full({1}, 3.f)}, {"bad", at::tensor({NAN, 4.f, INFINITY})}};
}

TEST(GradClip, scales_to_the_limit) {
  const std::vector<NamedTensor> grads = three_four();
  const ClipResult result = GradClip({.max_norm = 1})(grads);
  EXPECT_DOUBLE_EQ(result.norm, 5);
  EXPECT_NEAR(grads[0].tensor.item<double>(), 3 / 5., 1e-6);
  EXPECT_NEAR(grads[1].tensor[0][0].item<double>(), 2 / 5., 1e-6);
}

TEST(GradClip, decide_leaves_the_scaling_to_the_caller) {
  const std::vector<NamedTensor> grads = three_four(), scaled = three_four();
  GradClip clip({.max_norm = 1});
  const ClipResult result = clip.decide(grads, clip.measure(grads).cpu());
  EXPECT_EQ(result.scale, clip(scaled).scale);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(grads[i].tensor.equal(three_four()[i].tensor));
    EXPECT_TRUE(scaled[i].tensor.equal(grads[i].tensor.mul(result.scale)));
  }
}

TEST(GradClip, leaves_small_gradients_alone) {
  for (const double limit : {10., 0.}) {
    const std::vector<NamedTensor> grads = three_four();
    EXPECT_EQ(GradClip({.max_norm = limit})(grads).scale, 1);
    EXPECT_EQ(grads[0].tensor.item<float>(), 3);
  }
}

TEST(GradClip, other_norms) {
  EXPECT_NEAR(GradClip({.max_norm = 0, .norm_type = 1})(three_four()).norm, 3 + 4 * 2, 1e-12);
  EXPECT_NEAR(GradClip({.max_norm = 0, .norm_type = 3})(three_four()).norm, std::cbrt(27 + 4 * 8), 1e-12);
  EXPECT_EQ(GradClip({.max_norm = 0, .norm_type = INFINITY})(three_four()).norm, 3);
}

TEST(GradClip, large_finite_float32_gradients_do_not_overflow) {
  const ClipResult result = GradClip({.max_norm = 1})({{"a", at::full({4}, 1e30f)}});
  EXPECT_NEAR(result.norm / 2e30, 1, 1e-6);
}

TEST(GradClip, norms_of_long_tensors_keep_their_digits) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor grad = Rng(1, "g").normal_tensor({100003}).to(type);
    const double wanted = std::sqrt(grad.to(at::kDouble).square().sum().item<double>());
    EXPECT_NEAR(GradClip({.max_norm = 0})({{"g", grad}}).norm / wanted, 1, 1e-12) << type;
    EXPECT_NEAR(GradClip({.max_norm = 0})({{"g", grad.slice(0, 0, 99999, 3)}}).norm /
                    grad.slice(0, 0, 99999, 3).to(at::kDouble).norm().item<double>(),
                1, 1e-12)
        << "strided, " << type;
  }
}

TEST(GradClip, empty_gradients_have_norm_zero) {
  for (const double p : {1., 2., double{INFINITY}})
    EXPECT_EQ(GradClip({.max_norm = 1, .norm_type = p})({{"empty", at::ones({0})}}).norm, 0) << p;
}

TEST(GradClip, combines_over_ranks) {
  const auto combine = [](const at::Tensor& mine, GradClip::Combine how) {
    EXPECT_EQ(how, GradClip::Combine::sum);
    return mine + 144;  // the other rank's gradients have norm 12
  };
  const std::vector<NamedTensor> grads = three_four();
  EXPECT_DOUBLE_EQ(GradClip({.max_norm = 1}, combine)(grads).norm, 13);
  EXPECT_NEAR(grads[0].tensor.item<double>(), 3 / 13., 1e-6);
}

TEST(GradClip, infinity_norm_combines_by_maximum_and_keeps_bad_numbers_visible) {
  double seen = 0;
  const auto combine = [&](const at::Tensor& mine, GradClip::Combine how) {
    EXPECT_EQ(how, GradClip::Combine::max);
    seen = mine.item<double>();
    return mine;
  };
  GradClip clip({.norm_type = INFINITY, .nonfinite = NonFinite::skip}, combine);
  EXPECT_TRUE(clip({{"a", at::full({1}, NAN)}}).skip);
  EXPECT_EQ(seen, INFINITY) << "not NaN, over which ranks would not agree";
}

TEST(GradClip, stop_names_the_tensors) {
  try {
    GradClip({.nonfinite = NonFinite::stop})(broken());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not finite: bad"), std::string::npos) << error.what();
    EXPECT_EQ(error.code(), Exit::failure);
  }
}

TEST(GradClip, skip_leaves_gradients_and_counts) {
  GradClip clip({.max_norm = 1, .nonfinite = NonFinite::skip, .max_skips_in_a_row = 3});
  const std::vector<NamedTensor> grads = broken();
  const ClipResult result = clip(grads);
  EXPECT_TRUE(result.skip);
  EXPECT_EQ(result.nonfinite, std::vector<std::string>{"bad"});
  EXPECT_EQ(grads[0].tensor.item<float>(), 3);
  EXPECT_FALSE(clip(three_four()).skip);
  EXPECT_TRUE(clip(grads).skip);
  EXPECT_TRUE(clip(grads).skip);
  EXPECT_EQ(clip.num_skipped(), 3);
  EXPECT_THROW(clip(grads), Error) << "the third in a row";
}

TEST(GradClip, a_bad_gradient_of_another_rank_is_seen_here) {
  GradClip clip({.nonfinite = NonFinite::skip},
                [](const at::Tensor& mine, GradClip::Combine) { return mine + NAN; });
  const ClipResult result = clip(three_four());
  EXPECT_TRUE(result.skip);
  EXPECT_TRUE(result.nonfinite.empty());
}

TEST(GradClip, zero_clears_bad_entries_alone) {
  const std::vector<NamedTensor> grads = broken();
  const ClipResult result = GradClip({.max_norm = 0, .nonfinite = NonFinite::zero})(grads);
  EXPECT_DOUBLE_EQ(result.norm, 5);
  EXPECT_EQ(result.nonfinite, std::vector<std::string>{"bad"});
  EXPECT_TRUE(at::equal(grads[1].tensor, at::tensor({0.f, 4.f, 0.f})));
}

TEST(GradClip, a_tensor_held_under_two_names_is_scaled_once) {
  const at::Tensor shared = at::full({1}, 3.f);
  GradClip({.max_norm = 1})({{"a", shared}, {"b", shared}});
  EXPECT_NEAR(shared.item<double>(), 3 / (3 * std::sqrt(2.)), 1e-6);
}

TEST(GradClip, bad_settings_are_refused) {
  EXPECT_THROW(GradClip({.max_norm = -1}), Error);
  EXPECT_THROW(GradClip({.max_norm = NAN}), Error);
  EXPECT_THROW(GradClip({.norm_type = 0.5}), Error);
  EXPECT_THROW(GradClip({.max_skips_in_a_row = 0}), Error);
  EXPECT_EQ(GradClip({})({}).norm, 0) << "no gradients at all";
}

}  // namespace
}  // namespace orrery
