#pragma once
#include "autograd/variable.h"

namespace orrery::ops {

// Rotary embedding, half-split: (x[i], x[i + d/2]) is rotated by angle[s, i]. x (B,S,n,d); cos, sin (S,d/2)
// in x's accumulation type, constants. (Su et al. 2021; pairing as in GPT-NeoX.)
Variable rope(const Variable& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace orrery::ops
