#pragma once
// Attention without our own kernels, for measurements of one against the other.
#include "ops/kernels.h"

namespace orrery::kernels::cuda {

// By cuDNN, and by what attention() takes where cuDNN refuses.
cpu::Attention cudnn_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);
cpu::AttentionGrads cudnn_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const at::Tensor& out,
                                             const at::Tensor& lse, double scale);

}  // namespace orrery::kernels::cuda
