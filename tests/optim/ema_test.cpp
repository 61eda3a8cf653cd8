#include "optim/ema.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

TEST(Ema, gamma_of_the_rates_in_use) {
  EXPECT_NEAR(ema_power_gamma(0.05), 16.972198602303447, 1e-11);
  EXPECT_NEAR(ema_power_gamma(0.1), 6.937203937601809, 1e-12);
  EXPECT_NEAR(ema_power_gamma(0.2), 1.826214, 1e-6);
  for (const double s : {0.01, 0.15, 0.28}) {
    const double x = ema_power_gamma(s), q = 1 / (s * s);
    EXPECT_NEAR((x * x * x + 7 * x * x + (16 - q) * x + 12 - q) / (x * q), 0, 1e-12);
    EXPECT_GT(x, 0) << "the largest root: the product of all three is 1/s^2 - 12 > 0, their sum -7";
  }
  EXPECT_GT(ema_power_gamma(1e-6), 9.9e5);
  EXPECT_THROW(ema_power_gamma(0), Error);
  EXPECT_THROW(ema_power_gamma(0.3), Error);
}

TEST(Ema, power_law_of_the_specification) {
  EXPECT_EQ(ema_beta({}, 0), 0);
  EXPECT_NEAR(ema_beta({}, 1), 0.00408, 1e-5);
  EXPECT_NEAR(ema_beta({}, 100), 0.9240, 1e-4);
  EXPECT_NEAR(ema_beta({}, 23000), 0.99965, 1e-5);
  EXPECT_EQ(ema_beta({.iteration_shift = 100}, 0), ema_beta({}, 100));
}

TEST(Ema, the_first_update_of_the_power_law_forgets_the_start) {
  at::Tensor weight = at::full({3}, NAN);
  AveragedWeights averaged({}, {{"w", weight}});
  weight.fill_(2);
  averaged.update(0);
  EXPECT_TRUE(at::equal(averaged.averages()[0].tensor, at::full({3}, 2.f)));
}

TEST(Ema, constant_average_of_bfloat16_weights_is_float32) {
  at::Tensor weight = at::zeros({2}, at::kBFloat16);
  AveragedWeights averaged({.kind = Ema::constant, .decay = 0.75}, {{"w", weight}});
  weight.fill_(1);
  averaged.update(0);
  averaged.update(1);
  EXPECT_EQ(averaged.averages()[0].tensor.scalar_type(), at::kFloat);
  EXPECT_FLOAT_EQ(averaged.averages()[0].tensor[0].item<float>(), 1 - 0.75f * 0.75f);
}

TEST(Ema, flow_grpo_updates_at_its_interval) {
  at::Tensor weight = at::zeros({1});
  AveragedWeights averaged({.kind = Ema::flow_grpo, .decay = 0.9, .interval = 2}, {{"w", weight}});
  weight.fill_(1);
  averaged.update(0);
  EXPECT_EQ(averaged.averages()[0].tensor.item<float>(), 0);
  averaged.update(1);
  EXPECT_FLOAT_EQ(averaged.averages()[0].tensor.item<float>(), 1 - 2.f / 11);
  EXPECT_EQ(ema_beta({.kind = Ema::flow_grpo, .decay = 0.9}, 1000), 0.9);
}

TEST(Ema, finish_moves_what_was_not_taken_out) {
  at::Tensor a = at::zeros({1}), b = at::zeros({1});
  AveragedWeights averaged({.kind = Ema::constant, .decay = 0.5}, {{"a", a}, {"b", b}});
  a.fill_(1);
  b.fill_(1);
  DueAverages due = averaged.due(0);
  EXPECT_EQ(due.beta, 0.5);
  due.tensors[0].reset();
  averaged.finish(due);
  EXPECT_EQ(averaged.averages()[0].tensor.item<float>(), 0);
  EXPECT_EQ(averaged.averages()[1].tensor.item<float>(), 0.5);
}

TEST(Ema, swap_lends_the_averages_and_gives_the_weights_back) {
  at::Tensor weight = at::ones({2}, at::kBFloat16);
  const AveragedWeights averaged({}, {{"w", weight}});
  weight.fill_(5);
  {
    const AveragedWeights::Swap swap(averaged);
    EXPECT_EQ(weight[0].item<float>(), 1);
  }
  EXPECT_EQ(weight[0].item<float>(), 5);
  EXPECT_EQ(averaged.averages()[0].tensor[0].item<float>(), 1);
}

TEST(Ema, bad_settings_are_refused) {
  EXPECT_THROW(ema_beta({.kind = Ema::none}, 0), Error);
  EXPECT_THROW(ema_beta({.kind = Ema::constant, .decay = 1.5}, 0), Error);
  EXPECT_THROW(ema_beta({.kind = Ema::flow_grpo, .interval = 0}, 0), Error);
  EXPECT_THROW(ema_beta({}, -1), Error);
  EXPECT_THROW(AveragedWeights({}, {{"w", {}}}), Error);
  EXPECT_THROW(AveragedWeights({}, {{"w", at::zeros({1})}}).finish({}), Error);
}

}  // namespace
}  // namespace orrery
