#include "optim/lr_schedule.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace orrery {
namespace {

constexpr int64_t kLongest = int64_t{1} << 40;  // steps of a cycle

double cycle_factor(const LrCycle& c, int64_t n, bool cosine) {
  require(c.warmup >= 0 && c.warmup < c.length, "learning rate: a cycle of ", c.length, " steps with ",
          c.warmup, " of warm-up, wanted 0 <= warm-up < length");
  const double step = static_cast<double>(n), warmup = static_cast<double>(c.warmup);
  if (n < c.warmup) return (c.max - c.start) / warmup * step + c.start;
  const double rest = static_cast<double>(c.length - c.warmup);
  if (!cosine) return c.min + (c.max - c.min) * static_cast<double>(c.length - n) / rest;
  return c.min + 0.5 * (c.max - c.min) * (1 + std::cos((step - warmup) / rest * std::numbers::pi));
}

double cycles_factor(const LrConfig& config, int64_t step) {
  int64_t begin = 0;
  for (const LrCycle& cycle : config.cycles) {
    require(cycle.length > 0 && cycle.length <= kLongest, "learning rate: a cycle of ", cycle.length,
            " steps, wanted 1 to ", kLongest);
    if (step <= begin + cycle.length)
      return cycle_factor(cycle, step - begin, config.kind == LrSchedule::lambda_cosine);
    begin += cycle.length;
  }
  fail("learning rate: step ", step, " lies beyond the schedule's last cycle, which ends at step ", begin,
       " (is optim.cycle shorter than train.steps?)");
}

double warmed_factor(const LrConfig& config, int64_t step) {
  require(config.warmup >= 0, "learning rate: warm-up of ", config.warmup, " steps, wanted >= 0");
  if (step < config.warmup) return static_cast<double>(step) / static_cast<double>(config.warmup);
  if (config.kind == LrSchedule::constant) return 1;
  const double rest = static_cast<double>(std::max<int64_t>(1, config.steps - config.warmup));
  const double done = static_cast<double>(step - config.warmup) / rest;
  const double fall =
      config.kind == LrSchedule::cosine ? 0.5 * (1 + std::cos(std::numbers::pi * done)) : 1 - done;
  return config.min + (1 - config.min) * std::max(0.0, fall);
}

}  // namespace

LrConfig lr_config(const OptimConfig& optim, int64_t train_steps) {
  LrConfig config{.kind = optim.schedule,
                  .cycles = {},
                  .warmup = optim.warmup,
                  .steps = train_steps,
                  .min = optim.min_factor};
  if (optim.schedule == LrSchedule::lambda_linear || optim.schedule == LrSchedule::lambda_cosine)
    config.cycles = {{.warmup = optim.warmup,
                      .length = optim.cycle,
                      .start = optim.start_factor,
                      .max = optim.max_factor,
                      .min = optim.min_factor}};
  return config;
}

double lr_factor(const LrConfig& config, int64_t step) {
  require(step >= 0, "learning rate: step ", step, ", wanted >= 0");
  const bool cycles = config.kind == LrSchedule::lambda_linear || config.kind == LrSchedule::lambda_cosine;
  return cycles ? cycles_factor(config, step) : warmed_factor(config, step);
}

}  // namespace orrery
