#pragma once
// Peak signal-to-noise ratio. Used by the evaluation, by `orrery metrics` and by tests.
#include <ATen/core/Tensor.h>

namespace orrery {

// In dB, float64 [B] on the CPU: 10 log10(255^2 / mean squared error over all but the first axis). Equal
// items give +inf. Both uint8 [B, ...] of the same shape and device, not empty: clips, or frames where the
// mean over frames is wanted (IRASim: evaluate/compute_psnr_ssim.py, in colour, or on grey_of).
at::Tensor psnr(const at::Tensor& film, const at::Tensor& truth);

// The same of floating-point pictures, both clipped to [0, peak] first; peak > 0.
at::Tensor clipped_psnr(const at::Tensor& film, const at::Tensor& truth, double peak);

}  // namespace orrery
