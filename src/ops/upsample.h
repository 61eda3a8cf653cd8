#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// Every pixel of x (B,C,T,H,W) as a square of factor x factor pixels.
Variable upsample_nearest(const Variable& x, int64_t factor);

}  // namespace orrery::ops
