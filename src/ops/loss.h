#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// Mean of (prediction - target)^2 over all dimensions but the first, in the accumulation type. prediction,
// target (B, ...) of one shape and dtype; result (B).
Variable squared_error(const Variable& prediction, const Variable& target);

}  // namespace orrery::ops
