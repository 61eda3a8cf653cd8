#include "ops/numeric.h"

#include <ATen/ExpandUtils.h>

namespace orrery {

at::Tensor sum_to(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type) {
  return at::sum_to(x, shape).to(type);
}

}  // namespace orrery
