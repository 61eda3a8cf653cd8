#pragma once
// Attention forward by products of matrices, for heads that are too wide for cuDNN's fused kernels, such as
// the one of 384 channels in the video autoencoder. Called by cudnn_attention.cpp.
#include "ops/kernels.h"

namespace orrery::kernels::cuda {

// bfloat16 and float16, q (B,Sq,n,d), k and v (B,Sk,n,d). Scores in float32, of so many queries at a time
// that they take 1 GiB at most; probabilities are rounded to the type.
cpu::Attention wide_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);

}  // namespace orrery::kernels::cuda
