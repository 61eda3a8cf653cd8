#include "flow/schedule.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace orrery::flow {
namespace {

std::vector<int64_t> range(int64_t begin, int64_t end) {
  std::vector<int64_t> out(end - begin);
  std::iota(out.begin(), out.end(), begin);
  return out;
}

double sigma_of(const TimeConfig& config, float draw) {
  return times_from_draws(config, {.time = at::full({1}, draw)}).sigmas.item<double>();
}

TEST(FlowTime, discrete_table_runs_from_noise_to_data) {
  const TimeConfig config{.law = TimeLaw::uniform, .shift = 5};
  EXPECT_FLOAT_EQ(sigma_of(config, 0.f), 1.0);
  EXPECT_FLOAT_EQ(sigma_of(config, 0.5f), 5 * 0.5 / (1 + 4 * 0.5));
  EXPECT_FLOAT_EQ(sigma_of(config, 0.9995f), 5 * 0.001 / (1 + 4 * 0.001));
  EXPECT_FLOAT_EQ(sigma_of(config, 1.f), 5 * 0.001 / (1 + 4 * 0.001))
      << "1 is the last entry, not one past it";
}

TEST(FlowTime, continuous_form_is_the_formula) {
  const TimeConfig config{.table = TimeTable::continuous, .law = TimeLaw::uniform, .shift = 3};
  EXPECT_NEAR(sigma_of(config, 0.25f), 3 * 0.25 / (1 + 2 * 0.25), 1e-7);
  EXPECT_EQ(sigma_of(config, 0.f), 0);
}

TEST(FlowTime, number_of_high_timesteps_by_shift) {  // specification: 21, 40, 58, 76, 93
  const int64_t wanted[] = {21, 40, 58, 76, 93};
  for (int shift = 1; shift <= 5; ++shift)
    EXPECT_EQ(num_high_timesteps({.shift = static_cast<double>(shift)}), wanted[shift - 1]);
  EXPECT_THROW(num_high_timesteps({.high_sigma_min = 1001, .high_sigma_max = 1002}), Error);
}

TEST(FlowTime, high_sigma_replaces_the_chosen_samples_alone) {
  for (const TimeTable table : {TimeTable::discrete, TimeTable::continuous}) {
    const TimeConfig config{.table = table, .high_sigma_ratio = 0.05};
    const TimeDraws draws{at::zeros({3}), at::tensor({0.04f, 0.06f, 0.f}),
                          at::tensor({int64_t{0}, int64_t{0}, int64_t{92}}, at::kLong)};
    const Times times = times_from_draws(config, draws);
    EXPECT_FLOAT_EQ(times.timesteps[0].item<float>(), 1000);
    EXPECT_FLOAT_EQ(times.timesteps[1].item<float>(), 1000 * 5 * 0.5 / 3);
    EXPECT_NEAR(times.timesteps[2].item<float>(), 980.138, 1e-3);
    EXPECT_TRUE(at::allclose(times.sigmas * 1000, times.timesteps));
  }
}

TEST(FlowTime, draws_depend_on_seed_step_and_sample_alone) {
  const TimeConfig config{.high_sigma_ratio = 0.05};
  const auto all = draw_times(config, 7, 3, range(0, 8));
  const auto half = draw_times(config, 7, 3, range(4, 8));
  EXPECT_TRUE(at::equal(all.time.slice(0, 4), half.time));
  EXPECT_TRUE(at::equal(all.high_index.slice(0, 4), half.high_index));
  EXPECT_FALSE(at::equal(all.time, draw_times(config, 7, 4, range(0, 8)).time));
  EXPECT_FALSE(at::equal(all.time, draw_times(config, 8, 3, range(0, 8)).time));
}

TEST(FlowTime, drawn_times_follow_their_law) {
  TimeConfig config{.table = TimeTable::continuous, .shift = 1, .high_sigma_ratio = 0.05};
  const auto samples = range(0, 20000);
  const at::Tensor sigma = times_from_draws(config, draw_times(config, 1, 0, samples)).sigmas;
  // 5 % of U(0.98, 1) and 95 % of sigmoid(N(0, 1)), whose mean is 1/2; both are above 0.98 in 0.05 +
  // 0.95 5.0e-5
  EXPECT_NEAR(sigma.mean().item<double>(), 0.95 * 0.5 + 0.05 * 0.99, 5e-3);
  EXPECT_NEAR(sigma.ge(0.98).to(at::kDouble).mean().item<double>(), 0.05, 5e-3);
  config = {.table = TimeTable::continuous, .law = TimeLaw::uniform, .shift = 1};
  const at::Tensor uniform = times_from_draws(config, draw_times(config, 1, 0, samples)).sigmas;
  EXPECT_NEAR(uniform.lt(0.25).to(at::kDouble).mean().item<double>(), 0.25, 1e-2);
}

TEST(FlowTime, bad_draws_and_settings_are_refused) {
  const auto run = [](const TimeConfig& config, at::Tensor draw) {
    return times_from_draws(config, {.time = std::move(draw)});
  };
  EXPECT_THROW(run({}, {}), Error);
  EXPECT_THROW(run({}, at::full({2}, NAN)), Error);
  EXPECT_THROW(run({}, at::zeros({2}, at::kDouble)), Error);
  EXPECT_THROW(run({.law = TimeLaw::uniform}, at::full({2}, 1.5f)), Error);
  EXPECT_THROW(run({.shift = 0}, at::zeros({2})), Error);
  EXPECT_THROW(run({.high_sigma_ratio = 0.05}, at::zeros({2})), Error) << "the high draws are missing";
  const TimeDraws beyond{at::zeros({1}), at::zeros({1}), at::full({1}, 93, at::kLong)};
  EXPECT_THROW(times_from_draws({.high_sigma_ratio = 0.05}, beyond), Error);
}

TEST(FlowTime, shift_grows_with_the_resolution) {
  EXPECT_DOUBLE_EQ(shift_for_resolution(192, 320), 1);
  EXPECT_DOUBLE_EQ(shift_for_resolution(64, 64), 1);
  EXPECT_NEAR(shift_for_resolution(704, 1280), 5, 1e-12);
  EXPECT_DOUBLE_EQ(shift_for_resolution(1056, 1920), 5);
  const double middle = shift_for_resolution(432, 768);
  EXPECT_GT(middle, 2);
  EXPECT_LT(middle, 4);
  EXPECT_EQ(middle, shift_for_resolution(768, 432));
  EXPECT_THROW(shift_for_resolution(0, 10), Error);
}

}  // namespace
}  // namespace orrery::flow
