#include "flow/condition.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace orrery::flow {
namespace {

at::Tensor counts_of(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

TEST(Condition, number_of_frames_follows_the_running_sum_of_weights) {
  const at::Tensor uniform = at::tensor({0.0, 0.4999, 0.5, 0.7499, 0.75, 0.9999}, at::kDouble);
  EXPECT_TRUE(at::equal(num_condition_frames({}, uniform, 24), counts_of({0, 0, 1, 1, 2, 2})));
  EXPECT_TRUE(at::equal(num_condition_frames({{5, 1}, {3, 1}}, uniform, 24), counts_of({5, 5, 5, 5, 1, 1})))
      << "choices keep their order, weights need not sum to 1";
  EXPECT_TRUE(
      at::equal(num_condition_frames(uniform_frames(1, 2), uniform, 24), counts_of({1, 1, 2, 2, 2, 2})));
  EXPECT_TRUE(at::equal(num_condition_frames({}, uniform, 1), counts_of({0, 0, 0, 0, 0, 0})))
      << "images have none";
}

TEST(Condition, a_draw_of_one_is_the_last_choice) {
  EXPECT_EQ(num_condition_frames({}, at::ones({1}, at::kDouble), 4).item<int64_t>(), 2);
}

TEST(Condition, bad_laws_are_refused) {
  const at::Tensor uniform = at::zeros({1}, at::kDouble);
  EXPECT_THROW(num_condition_frames({{}, {}}, uniform, 4), Error);
  EXPECT_THROW(num_condition_frames({{1, 2}, {1}}, uniform, 4), Error);
  EXPECT_THROW(num_condition_frames({{1, 2}, {-1, 2}}, uniform, 4), Error);
  EXPECT_THROW(num_condition_frames({{1, 2}, {0, 0}}, uniform, 4), Error);
  EXPECT_THROW(num_condition_frames({{-1}, {1}}, uniform, 4), Error);
  EXPECT_THROW(num_condition_frames({}, at::zeros({1}), 4), Error) << "float32 draws";
  EXPECT_THROW(uniform_frames(2, 1), Error);
}

TEST(Condition, mask_marks_the_first_frames) {
  const at::Tensor mask = condition_mask(counts_of({0, 2, 9}), 3, at::kFloat);
  EXPECT_EQ(mask.sizes(), (std::vector<int64_t>{3, 1, 3, 1, 1}));
  EXPECT_TRUE(at::equal(mask.flatten(), at::tensor({0.f, 0.f, 0.f, 1.f, 1.f, 0.f, 1.f, 1.f, 1.f})));
  EXPECT_THROW(condition_mask(counts_of({-1}), 3, at::kFloat), Error);
}

TEST(Condition, replacement_takes_given_frames_exactly) {
  const at::Tensor x = at::full({1, 2, 3, 2, 2}, NAN), given = at::ones({1, 2, 3, 2, 2});
  const at::Tensor out = replace_frames(x, given, condition_mask(counts_of({2}), 3, at::kFloat));
  EXPECT_TRUE(at::equal(out.slice(2, 0, 2), given.slice(2, 0, 2))) << "noise does not leak into given frames";
  EXPECT_TRUE(out.slice(2, 2).isnan().all().item<bool>());
}

TEST(Condition, frame_timestep_passes_through_the_masks_type) {
  const at::Tensor timesteps = at::tensor({500.25f, 750.5f}).unsqueeze(1);
  const auto run = [&](at::ScalarType dtype) {
    return frame_timesteps(timesteps, condition_mask(counts_of({0, 2}), 3, dtype), 0.1);
  };
  const at::Tensor out = run(at::kBFloat16);
  EXPECT_EQ(out.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(
      out, at::tensor({500.25f, 500.25f, 500.25f, 0.10009765625f, 0.10009765625f, 750.5f}).view({2, 3})));
  EXPECT_EQ(run(at::kFloat)[1][0].item<float>(), 0.1f);
}

TEST(Condition, text_is_dropped_a_sample_at_a_time) {
  const at::Tensor text = at::rand({4, 3, 2}) + 1, uniform = at::tensor({0.f, 0.79f, 0.81f, 0.99f});
  const at::Tensor out = drop_text(text, uniform, 0.2);
  EXPECT_TRUE(at::equal(out.slice(0, 0, 2), text.slice(0, 0, 2)));
  EXPECT_TRUE(at::equal(out.slice(0, 2), at::zeros({2, 3, 2})));
  const at::Tensor empty = at::full({1, 3, 2}, -1.f);
  EXPECT_TRUE(at::equal(drop_text(text, uniform, 0.2, empty).slice(0, 2), at::full({2, 3, 2}, -1.f)));
  EXPECT_TRUE(at::equal(drop_text(text, uniform, 0), text));
  EXPECT_TRUE(at::equal(drop_text(text, uniform, 1), at::zeros({4, 3, 2})));
  EXPECT_THROW(drop_text(text, uniform, 1.5), Error);
  EXPECT_THROW(drop_text(text, uniform.slice(0, 1), 0.2), Error);
}

TEST(Condition, draws_depend_on_seed_step_and_sample_alone) {
  const std::vector<int64_t> all = {0, 1, 2, 3}, some = {2, 3};
  EXPECT_TRUE(at::equal(draw_condition_frames(1, 5, all).slice(0, 2), draw_condition_frames(1, 5, some)));
  EXPECT_TRUE(at::equal(draw_text_dropout(1, 5, all).slice(0, 2), draw_text_dropout(1, 5, some)));
  EXPECT_FALSE(at::equal(draw_text_dropout(1, 5, all), draw_text_dropout(1, 6, all)));
}

TEST(Condition, share_of_drawn_frames_and_texts) {
  std::vector<int64_t> samples(20000);
  std::iota(samples.begin(), samples.end(), 0);
  const at::Tensor frames = num_condition_frames({}, draw_condition_frames(3, 0, samples), 24);
  EXPECT_NEAR(frames.eq(0).to(at::kDouble).mean().item<double>(), 0.5, 0.015);
  EXPECT_NEAR(frames.eq(2).to(at::kDouble).mean().item<double>(), 0.25, 0.015);
  const at::Tensor kept = drop_text(at::ones({20000, 1}), draw_text_dropout(3, 0, samples), 0.2);
  EXPECT_NEAR(kept.mean().item<double>(), 0.8, 0.015);
}

}  // namespace
}  // namespace orrery::flow
