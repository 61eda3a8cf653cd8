#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// Every pixel of x (B,C,T,H,W) as a square of factor x factor pixels.
Variable upsample_nearest(const Variable& x, int64_t factor);

// x (B,factor*C,T,H,W) to (B,C,factor*T,H,W): channel s * C + c of frame t becomes channel c of frame
// factor * t + s.
Variable channels_to_frames(const Variable& x, int64_t factor);

}  // namespace orrery::ops
