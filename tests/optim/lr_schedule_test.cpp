#include "optim/lr_schedule.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

TEST(LrSchedule, recipe_of_the_released_2b_model) {
  const LrConfig config = lr_config({}, 150000);
  EXPECT_DOUBLE_EQ(lr_factor(config, 0), 1e-6);
  EXPECT_DOUBLE_EQ(lr_factor(config, 50), 1e-6 + (0.99 - 1e-6) / 2);
  EXPECT_DOUBLE_EQ(lr_factor(config, 100), 0.99);
  EXPECT_DOUBLE_EQ(lr_factor(config, 400000), 0.4);
  EXPECT_THROW(lr_factor(config, 400001), Error);
}

TEST(LrSchedule, cycles_lie_end_to_end) {
  const LrConfig config{.kind = LrSchedule::lambda_linear,
                        .cycles = {{.warmup = 0, .length = 10, .max = 1, .min = 0.5},
                                   {.warmup = 2, .length = 4, .start = 0.1, .max = 0.3, .min = 0}}};
  EXPECT_DOUBLE_EQ(lr_factor(config, 10), 0.5) << "the last step of a cycle belongs to it";
  EXPECT_DOUBLE_EQ(lr_factor(config, 11), 0.2);
  EXPECT_DOUBLE_EQ(lr_factor(config, 12), 0.3);
  EXPECT_DOUBLE_EQ(lr_factor(config, 13), 0.15);
  EXPECT_DOUBLE_EQ(lr_factor(config, 14), 0);
}

TEST(LrSchedule, warm_up_then_straight_or_cosine_fall_or_none) {
  LrConfig config{.kind = LrSchedule::linear, .warmup = 10, .steps = 110, .min = 0.2};
  EXPECT_DOUBLE_EQ(lr_factor(config, 0), 0);
  EXPECT_DOUBLE_EQ(lr_factor(config, 5), 0.5);
  EXPECT_DOUBLE_EQ(lr_factor(config, 10), 1);
  EXPECT_DOUBLE_EQ(lr_factor(config, 60), 0.6);
  EXPECT_DOUBLE_EQ(lr_factor(config, 110), 0.2);
  config.kind = LrSchedule::cosine;
  EXPECT_NEAR(lr_factor(config, 35), 0.2 + 0.8 * 0.8535533905932737, 1e-12);
  EXPECT_NEAR(lr_factor(config, 110), 0.2, 1e-12);
  config.kind = LrSchedule::constant;
  EXPECT_DOUBLE_EQ(lr_factor(config, 5), 0.5);
  EXPECT_DOUBLE_EQ(lr_factor(config, 1000000), 1);
}

TEST(LrSchedule, bad_settings_are_refused) {
  EXPECT_THROW(lr_factor({.kind = LrSchedule::lambda_linear}, 0), Error);
  EXPECT_THROW(lr_factor({.kind = LrSchedule::lambda_linear, .cycles = {{.warmup = 5, .length = 5}}}, 0),
               Error);
  EXPECT_THROW(lr_factor({}, -1), Error);
  EXPECT_THROW(lr_factor({.warmup = -1}, 0), Error);
}

}  // namespace
}  // namespace orrery
