#pragma once
// Runners of the optimizer: update, schedules, clip, averaged weights.
#include "parity/case.h"

namespace orrery {

NamedTensors run_adamw(const Case& c, at::Device device);
NamedTensors run_lr_schedule(const Case& c, at::Device device);
NamedTensors run_ema_power(const Case& c, at::Device device);
NamedTensors run_clip_grad_norm(const Case& c, at::Device device);

}  // namespace orrery
