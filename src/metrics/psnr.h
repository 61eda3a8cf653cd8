#pragma once
// How close two films are. Used by the evaluation and by tests.
#include <ATen/core/Tensor.h>

namespace orrery {

// Peak signal-to-noise ratio in dB of each clip, float64 [B] on the CPU: 10 log10(255^2 / mean squared error
// over all but the first axis). Equal clips give +inf. Both uint8 [B, ...] of the same shape and device, not
// empty.
at::Tensor psnr(const at::Tensor& film, const at::Tensor& truth);

}  // namespace orrery
