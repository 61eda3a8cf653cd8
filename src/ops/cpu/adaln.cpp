#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> layer_norm(const at::Tensor& x, double eps) {
  if (!x.is_meta()) return at::native_layer_norm(x, x.sizes().slice(x.dim() - 1), {}, {}, eps);
  auto [y, mean, rstd] = meta::layer_norm(x);
  return {y, mean, rstd};
}

at::Tensor layer_norm_backward(const at::Tensor& dnorm, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd) {
  if (x.is_meta()) return meta::layer_norm_backward(x);
  return std::get<0>(at::native_layer_norm_backward(dnorm, x, x.sizes().slice(x.dim() - 1), mean, rstd, {},
                                                    {}, {true, false, false}));
}

}  // namespace

AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  const at::Tensor xf = to_acc(x);
  const auto [norm, mean, rstd] = layer_norm(xf, eps);
  return {norm.to(x.scalar_type()).mul_(1 + scale).add_(shift), mean, rstd};
}

AdaLNGrads adaln_backward(const at::Tensor& dout, const AdaLNSaved& s) {
  const at::Tensor x = to_acc(s.x), g = to_acc(dout);
  AdaLNGrads grads;
  if (s.wants_dx)
    grads.dx = layer_norm_backward(g * (1 + to_acc(s.scale)), x, s.mean, s.rstd).to(s.x.scalar_type());
  if (s.wants_dscale)
    grads.dscale = sum_to(g * ((x - s.mean) * s.rstd), s.scale.sizes(), s.scale.scalar_type());
  if (s.wants_dshift) grads.dshift = sum_to(g, s.shift_shape, s.scale.scalar_type());
  return grads;
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  return (gate * y).add_(x);  // not addcmul, which rounds once where the processor fuses the two
}

GatedAddGrads gated_add_backward(const at::Tensor& dout, const GatedAddSaved& s) {
  GatedAddGrads grads;
  if (s.wants_dgate) grads.dgate = sum_to(to_acc(dout) * to_acc(s.y), s.gate_shape, s.y.scalar_type());
  if (s.wants_dy) grads.dy = dout * s.gate;
  return grads;
}

}  // namespace orrery::kernels::cpu
