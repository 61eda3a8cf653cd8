#pragma once
#include "autograd/variable.h"
#include "ops/head_split.h"

namespace orrery::ops {

// rope(rms_norm(x, weight, eps), cos, sin), forward with the bits of these two (ops/norm.h, ops/rope.h),
// split over those who will get its heads: on CUDA one kernel reads x once and writes each element where it
// leaves from. x (B,S,n,d), weight (d), cos and sin (S,d/2) -> (B,S,n,d), or (groups,receivers,B,S,n',d) for
// a split of more than one part, which must divide n.
Variable rms_norm_rope(const Variable& x, const Variable& weight, double eps, const at::Tensor& cos,
                       const at::Tensor& sin, const HeadSplit& split);

}  // namespace orrery::ops
