#pragma once
// Factor on the learning rate by step. Pure functions of the number of optimizer steps done (0 at the first
// step).
#include <cstdint>
#include <vector>

#include "base/config.h"

namespace orrery {

// lambda_linear and lambda_cosine: cycles laid end to end, each with a linear rise from `start` to `max` over
// `warmup` steps and then a fall to `min` at its last step, which still belongs to it. Source:
// cosmos-predict2.5, common/functional/lr_scheduler.py (LambdaLinearScheduler, LambdaWarmUpCosineScheduler).
struct LrCycle {
  int64_t warmup = 0;  // < length
  int64_t length = 0;
  double start = 0, max = 1, min = 0;
};

struct LrConfig {
  LrSchedule kind = LrSchedule::constant;
  std::vector<LrCycle> cycles{};  // lambda_* only
  // constant, linear, cosine: rise from 0 over `warmup` steps, then 1, or a fall to `min` at `steps`,
  // straight or along half a cosine. With min = 0: get_linear_schedule_with_warmup and
  // get_cosine_schedule_with_warmup of transformers.
  int64_t warmup = 0;
  int64_t steps = 0;
  double min = 0;
};
LrConfig lr_config(const OptimConfig& optim, int64_t train_steps);

// Throws Error for cycles out of range, and for a step beyond the last cycle, where the reference has no
// value.
double lr_factor(const LrConfig& config, int64_t step);

}  // namespace orrery
