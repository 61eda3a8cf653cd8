#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

Variable gelu(const Variable& x);  // exact: x Phi(x), erf form
Variable silu(const Variable& x);  // x sigmoid(x)

}  // namespace orrery::ops
