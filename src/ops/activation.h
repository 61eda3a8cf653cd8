#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

Variable gelu(const Variable& x);  // exact: x Phi(x), erf form
Variable silu(const Variable& x);  // x sigmoid(x)
Variable relu(const Variable& x);  // max(x, 0)

}  // namespace orrery::ops
