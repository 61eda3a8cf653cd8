#pragma once
// Modulated layer norm and gated residual of diffusion transformers (Peebles and Xie 2023, "adaLN-Zero").
#include "autograd/variable.h"

namespace orrery::ops {

// layer_norm(x) * (1 + scale) + shift over the last dim, no affine weights. x (..., D); scale, shift
// broadcast against x, same dtype. Rounding: ops/kernels.h.
Variable adaln(const Variable& x, const Variable& scale, const Variable& shift, double eps);

// x + gate * y. y has x's shape, gate broadcasts, same dtype.
Variable gated_add(const Variable& x, const Variable& gate, const Variable& y);

}  // namespace orrery::ops
