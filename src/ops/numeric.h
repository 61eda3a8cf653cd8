#pragma once
// Rounding and broadcasting helpers of the ops. Accumulation type: float64 for float64 tensors, float32 for
// all others.
#include <ATen/core/Tensor.h>

namespace orrery {

inline at::ScalarType acc_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}
inline at::Tensor to_acc(const at::Tensor& x) {
  return x.to(acc_type(x.scalar_type()));
}
inline at::Tensor like(const at::Tensor& x, at::ScalarType type) {
  return x.to(type);
}
// x with these options (dtype and device). From the host to a GPU it travels behind what the GPU has queued,
// and the host does not wait for it.
at::Tensor to_device(const at::Tensor& x, const at::TensorOptions& options);
// Sums the dimensions along which `shape` was broadcast (accumulating in x's type), then casts.
at::Tensor sum_to(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type);

}  // namespace orrery
