#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// x W^T (+ bias). x (..., in), weight (out, in), bias (out) or undefined; one dtype. Sums in the accumulation
// type.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

}  // namespace orrery::ops
