#pragma once
// Runners of the training objective of rectified flow and its parts.
#include "parity/case.h"

namespace orrery {

NamedTensors run_flow_time(const Case& c, at::Device device);
NamedTensors run_flow_train(const Case& c, at::Device device);
NamedTensors run_flow_condition_frames(const Case& c, at::Device device);
NamedTensors run_flow_text_dropout(const Case& c, at::Device device);

}  // namespace orrery
