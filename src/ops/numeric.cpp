#include "ops/numeric.h"

#include <ATen/ExpandUtils.h>

namespace orrery {

at::Tensor to_device(const at::Tensor& x, const at::TensorOptions& options) {
  if (!x.is_cpu() || options.device().type() != at::kCUDA) return x.to(options);
  return x.to(c10::typeMetaToScalarType(options.dtype())).pin_memory().to(options, /*non_blocking=*/true);
}

at::Tensor sum_to(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type) {
  return at::sum_to(x, shape).to(type);
}

}  // namespace orrery
