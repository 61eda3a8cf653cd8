#include <ATen/ops/rsqrt.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {

RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor xf = to_acc(x);
  const at::Tensor rstd = xf.square().mean(-1, true).add_(eps).rsqrt_();
  return {(xf * rstd).mul_(to_acc(weight)).to(x.scalar_type()), rstd};
}

RmsNormGrads rms_norm_backward(const at::Tensor& dout, const RmsNormSaved& s) {
  const at::Tensor norm = to_acc(s.x) * s.rstd, g = to_acc(dout);
  RmsNormGrads grads;
  if (s.wants_dx) {
    const at::Tensor v = g * to_acc(s.weight);
    grads.dx = (s.rstd * (v - norm * (v * norm).mean(-1, true))).to(s.x.scalar_type());
  }
  if (s.wants_dweight) grads.dweight = sum_to(g * norm, s.weight.sizes(), s.weight.scalar_type());
  return grads;
}

}  // namespace orrery::kernels::cpu
