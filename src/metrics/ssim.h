#pragma once
// Structural similarity of grey pictures, and the grey that it is measured on. Used by the evaluation, by
// `orrery metrics` and by tests.
#include <ATen/core/Tensor.h>

namespace orrery {

// uint8 [..., H, W, 3] RGB to uint8 [..., H, W]: 0.299 R + 0.587 G + 0.114 B in OpenCV's fixed point
// (COLOR_BGR2GRAY of 8-bit pictures: weights of 15 bits, rounded half up).
at::Tensor grey_of(const at::Tensor& rgb);

// float64 [N] on the CPU, 1 for equal frames. frames, truth: uint8 [N,H,W], H and W at least 7. Wang et al.
// 2004 with scikit-image's defaults (structural_similarity): a uniform window of 7 x 7, sample covariance
// (n - 1), K1 = 0.01, K2 = 0.03, range 255, mean over the pixels whose window lies inside.
at::Tensor ssim(const at::Tensor& frames, const at::Tensor& truth);

}  // namespace orrery
