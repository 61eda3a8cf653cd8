#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// x / max(|x|, 1e-12) * sqrt(C) * gamma for x (B,C,T,H,W), where |x| is the norm over the channels of a pixel
// and gamma holds C numbers in any shape. Rounds to x's type after the norm, the quotient and each product,
// as the reference does. On the CPU the bits of a frame depend on that frame alone.
Variable channel_norm(const Variable& x, const Variable& gamma);

// silu of the same, with one more rounding.
Variable channel_norm_silu(const Variable& x, const Variable& gamma);

// Throws the Error of both for shapes and types that do not fit.
void check_norm(const Variable& x, const Variable& gamma);

}  // namespace orrery::ops
