#include <ATen/ops/addcmul.h>
#include <ATen/ops/native_layer_norm.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {

AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  const auto [norm, mean, rstd] = at::native_layer_norm(to_acc(x), x.sizes().slice(x.dim() - 1), {}, {}, eps);
  const at::Tensor gain = 1 + scale;
  const bool rounds = x.scalar_type() != norm.scalar_type();
  const at::Tensor y = rounds ? norm.to(x.scalar_type()) * gain + shift : at::addcmul(shift, norm, gain);
  return {y, mean, rstd};
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  return (gate * y).add_(x);  // not addcmul, which rounds once where the processor fuses the two
}

}  // namespace orrery::kernels::cpu
