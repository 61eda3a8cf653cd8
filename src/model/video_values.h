#pragma once
// What lies around the Wan2.1 autoencoder: grey levels to the values that it takes, its values to grey
// levels, and the scale of the latents that networks see. Used by wan_tokenizer.h. Sources:
// nvidia-cosmos/cosmos-predict2.5 models/text2world_model_rectified_flow.py, tokenizers/wan2pt1.py,
// imaginaire/visualize/video.py.
#include "autograd/variable.h"

namespace orrery {

// uint8 to x / 127.5 - 1 in `type`, rounded after each step.
at::Tensor values_of_pixels(const at::Tensor& pixels, at::ScalarType type);

// Floating values, -1 to 1 and what lies beyond, to uint8: (1 + x) / 2 cut to 0..1, times 255, truncated; in
// float32.
at::Tensor pixels_of_values(const at::Tensor& values);

// z = (mu - mean) * inv_std per channel, in the tensors' type and rounded after each step, and back
// mu = z / inv_std + mean.
struct LatentScale {
  at::Tensor mean, inv_std;  // (C), one floating type
  Variable normalise(const Variable& mu_BCTHW) const;
  Variable denormalise(const Variable& z_BCTHW) const;
};
LatentScale latent_scale(const at::Tensor& mean, const at::Tensor& std);  // 1 / std is rounded to std's type

// Those of the 16 channels of Wan2.1. Cosmos keeps mean, std and 1 / std in bfloat16, and its networks were
// trained on latents made so: the values are the rounded ones in every type. Error: a type other than
// bfloat16, float32 and float64.
LatentScale wan_latent_scale(at::ScalarType type, at::Device device);

}  // namespace orrery
