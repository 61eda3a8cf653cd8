#include <ATen/ops/rsqrt.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {

RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor xf = to_acc(x);
  const at::Tensor rstd = xf.square().mean(-1, true).add_(eps).rsqrt_();
  return {(xf * rstd).mul_(to_acc(weight)).to(x.scalar_type()), rstd};
}

}  // namespace orrery::kernels::cpu
