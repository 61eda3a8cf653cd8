#pragma once
// Runners of the samplers, with a stand-in velocity or with the video diffusion transformer.
#include "parity/case.h"

namespace orrery {

NamedTensors run_sampler_unipc(const Case& c, at::Device device);
NamedTensors run_sampler_euler(const Case& c, at::Device device);
NamedTensors run_rng_numpy_normal(const Case& c, at::Device device);
NamedTensors run_guidance(const Case& c, at::Device device);
NamedTensors run_generate_latent(const Case& c, at::Device device);

}  // namespace orrery
