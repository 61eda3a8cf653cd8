#pragma once
// Runners of the single operations of the diffusion transformer.
#include "parity/case.h"

namespace orrery {

NamedTensors run_op_adaln(const Case& c, at::Device device);
NamedTensors run_op_gated_add(const Case& c, at::Device device);
NamedTensors run_op_rms_norm(const Case& c, at::Device device);
NamedTensors run_op_attention(const Case& c, at::Device device);
NamedTensors run_op_attention_jvp(const Case& c, at::Device device);

}  // namespace orrery
