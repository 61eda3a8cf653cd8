#pragma once
// The mean squared difference of two tensors, item by item. PSNR and latent L2 are made of it.
#include <ATen/core/Tensor.h>

namespace orrery {

// float64 [B] on the CPU: the mean of (a - b)^2 over all but the first axis, summed in double. a, b: equal
// shapes [B, ...], dtypes and devices, with something in them; else Error that begins with what.
at::Tensor mean_square(const at::Tensor& a, const at::Tensor& b, std::string_view what);

// The same of latents [B,T,C,h,w] in floating point, frames that were given left out by the caller. A mean,
// without a root, as in IRASim (bytedance/IRASim, evaluate/compute_latent_l2.py).
at::Tensor latent_l2(const at::Tensor& latents, const at::Tensor& truth);

}  // namespace orrery
