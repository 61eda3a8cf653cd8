#pragma once
// Attention forward without our own kernel, for measurements of one against the other.
#include "ops/kernels.h"

namespace orrery::kernels::cuda {

// By cuDNN, and by what attention() takes where cuDNN refuses.
cpu::Attention cudnn_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);

}  // namespace orrery::kernels::cuda
