#pragma once
// A convolution on its way to a kernel, and the kernel of our own that takes some of them (conv_wgmma.cu).
// Used by cudnn_conv3d.cpp.
#include <ATen/core/Tensor.h>

#include "ops/conv3d.h"

namespace orrery::kernels::cuda {

// Tensors in the order B, T, H, W, C, dense and aligned to 16 bytes; x has its history, and time has no zeros
// to add. bias and residual may be undefined.
struct ConvCall {
  at::Tensor x, weight, bias, residual, out;
  ConvGeometry geometry;
};

// Whether the kernel takes calls of this weight (outputs, channels, taps, rows, columns), once channels and
// outputs are widened: half types, 3x3 pixels at stride 1, up to 8 outputs, or 96, 192, 288 or 384; on a GPU
// of compute capability 9.0, in a program built for sm_90a.
bool is_for_wgmma(const at::Tensor& weight, const ConvGeometry& geometry);

// Channels that it wants a multiple of.
int64_t wgmma_channels();

// False, and nothing done, where x has other channels, where a frame or the number of tiles is too large for
// its 32-bit counts, and where cuDNN was measured to be faster (docs/performance.md).
bool run_wgmma(const ConvCall& call);

// x (B,C,T,H,W) of a half type, wherever its elements lie, in the order B, T, H, W, C with zeros up to `wide`
// channels, a multiple of 8.
at::Tensor with_channels(const at::Tensor& x, int64_t wide);

}  // namespace orrery::kernels::cuda
