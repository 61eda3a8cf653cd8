#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// x * rsqrt(mean(x^2) + eps) * weight over the last dim (Zhang and Sennrich 2019). x (..., D), weight (D) of
// any floating type; computed in the accumulation type, rounded once to x's type.
Variable rms_norm(const Variable& x, const Variable& weight, double eps);

}  // namespace orrery::ops
