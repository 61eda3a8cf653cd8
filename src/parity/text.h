#pragma once
// Runners of the text encoders.
#include "parity/case.h"

namespace orrery {

NamedTensors run_text_prompt_ids(const Case& c, at::Device device);
NamedTensors run_qwen25_text(const Case& c, at::Device device);
NamedTensors run_op_mean_normalize(const Case& c, at::Device device);
NamedTensors run_reason1_embedding(const Case& c, at::Device device);
NamedTensors run_t5_encoder(const Case& c, at::Device device);

}  // namespace orrery
