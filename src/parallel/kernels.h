#pragma once
// The kernels behind copy_each.h on CUDA. CPU builds link a stub that throws.
#include "parallel/copy_each.h"

namespace orrery::kernels::cuda {

void copy_each(const TensorPairs& pairs);
void add_each(const TensorPairs& pairs);

}  // namespace orrery::kernels::cuda
