#pragma once
// Runners of the Wan2.1 video autoencoder and of its layers.
#include "model/wan_vae.h"
#include "parity/case.h"

namespace orrery {

// The network that a reference configuration describes. Error: an option that is missing, or set to something
// that this network is not.
WanVaeConfig wan_vae_config(const Json& config);

NamedTensors run_wan_vae_encode(const Case& c, at::Device device);
NamedTensors run_wan_vae_decode(const Case& c, at::Device device);
NamedTensors run_wan_vae_decode_stream(const Case& c, at::Device device);

// Layers, given inputs.x in parts of config.chunks frames.
NamedTensors run_op_causal_conv3d(const Case& c, at::Device device);
NamedTensors run_op_vae_resblock(const Case& c, at::Device device);
NamedTensors run_op_vae_resample(const Case& c, at::Device device);

NamedTensors run_op_vae_norm(const Case& c, at::Device device);
NamedTensors run_op_vae_attention(const Case& c, at::Device device);
NamedTensors run_op_vae_latent_norm(const Case& c, at::Device device);
NamedTensors run_op_pixels_to_model(const Case& c, at::Device device);
NamedTensors run_op_video_to_u8(const Case& c, at::Device device);

}  // namespace orrery
