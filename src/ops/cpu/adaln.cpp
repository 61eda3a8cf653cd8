#include <ATen/ops/native_layer_norm.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> layer_norm(const at::Tensor& x, double eps) {
  if (!x.is_meta()) return at::native_layer_norm(x, x.sizes().slice(x.dim() - 1), {}, {}, eps);
  auto [y, mean, rstd] = meta::layer_norm(x);
  return {y, mean, rstd};
}

}  // namespace

AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  const at::Tensor xf = to_acc(x);
  const auto [norm, mean, rstd] = layer_norm(xf, eps);
  return {norm.to(x.scalar_type()).mul_(1 + scale).add_(shift), mean, rstd};
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  return (gate * y).add_(x);  // not addcmul, which rounds once where the processor fuses the two
}

}  // namespace orrery::kernels::cpu
