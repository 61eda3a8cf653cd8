#pragma once
// Runners of the video diffusion transformer and of the parts of it that are no single op.
#include "model/dit.h"
#include "parity/case.h"

namespace orrery {

// The network that a reference configuration describes. Error: an option that is missing, unknown, or set to
// something that this network is not.
DiTConfig dit_config(const Json& config);

NamedTensors run_dit(const Case& c, at::Device device);
NamedTensors run_op_rope(const Case& c, at::Device device);
NamedTensors run_op_patchify(const Case& c, at::Device device);
NamedTensors run_op_timestep_embed(const Case& c, at::Device device);

}  // namespace orrery
