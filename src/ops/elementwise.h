#pragma once
// Elementwise arithmetic. Operands broadcast as in NumPy; dtypes must be equal (no silent promotion: use
// cast).
#include "autograd/variable.h"

namespace orrery::ops {

Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
Variable scale(const Variable& a, double factor);
// Another floating type; the gradient is cast back. Returns x itself where the type is right already.
Variable cast(const Variable& x, at::ScalarType type);
// a * mask + b * (1 - mask); mask is a constant that broadcasts against a and b.
Variable blend(const Variable& a, const Variable& b, const at::Tensor& mask);

}  // namespace orrery::ops
