#include <ATen/ops/native_layer_norm.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {

AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  auto [norm, mean, rstd] = at::native_layer_norm(to_acc(x), x.sizes().slice(x.dim() - 1), {}, {}, eps);
  return {norm.to(x.scalar_type()).mul_(1 + scale).add_(shift), mean, rstd};
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  return (gate * y).add_(x);  // not addcmul, which rounds once where the processor fuses the two
}

}  // namespace orrery::kernels::cpu
