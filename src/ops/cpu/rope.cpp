#include <ATen/ops/cat.h>
#include <ATen/ops/neg.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor xf = to_acc(x);
  const int64_t half = x.size(-1) / 2;
  const at::Tensor a = xf.narrow(-1, 0, half), b = xf.narrow(-1, half, half);
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1);  // (S,1,d/2)
  return at::cat({a * c - b * s, b * c + a * s}, -1).to(x.scalar_type());
}

at::Tensor rope_inverse(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return rope(x, cos, at::neg(sin));
}

RmsNorm rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const HeadTurn& turn) {
  auto [y, rstd] = rms_norm(x, weight, eps);
  return {split_heads(rope(y, turn.cos, turn.sin), turn.split), rstd};
}

RmsNormGrads rms_norm_rope_backward(const at::Tensor& dout, const RmsNormSaved& saved, const HeadTurn& turn) {
  return rms_norm_backward(rope_inverse(joined_heads(dout, turn.split), turn.cos, turn.sin), saved);
}

}  // namespace orrery::kernels::cpu
