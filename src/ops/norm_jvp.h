#pragma once
// The tangent of rms_norm, for the ops that hold one: inputs x and weight, output 1 is rstd.
#include "autograd/op.h"

namespace orrery {

at::Tensor rms_norm_jvp(const Saved& saved, const Tensors& tangents);

}  // namespace orrery
