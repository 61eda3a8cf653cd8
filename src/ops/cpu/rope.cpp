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

}  // namespace orrery::kernels::cpu
