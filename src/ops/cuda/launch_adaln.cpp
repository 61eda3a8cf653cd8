// Takes the tensors of adaln and gated_add apart for their kernels, and sends what those do not take to the
// reference.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "ops/cuda/launch.h"
#include "ops/kernels.h"

namespace orrery::kernels::cuda {
namespace {

bool same_type(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type();
}

std::vector<int64_t> shape_of_statistics(const at::Tensor& x) {
  auto shape = x.sizes().vec();
  shape.back() = 1;
  return shape;
}

}  // namespace

cpu::AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  const auto type = type_of(x);
  const auto rows = rows_of(x, scale);
  const bool alike = same_type(x, scale) && same_type(x, shift) && scale.sizes() == shift.sizes();
  if (!type || !rows || !alike) return cpu::adaln(x, scale, shift, eps);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), y = at::empty_like(xc);
  const at::Tensor mean = at::empty(shape_of_statistics(x), x.options().dtype(at::kFloat)),
                   rstd = at::empty_like(mean);
  at::Tensor scales, shifts;
  launch({.x = xc.const_data_ptr(),
          .scale = modulation_of(scale, scales),
          .shift = modulation_of(shift, shifts),
          .y = y.data_ptr(),
          .mean = mean.data_ptr<float>(),
          .rstd = rstd.data_ptr<float>(),
          .rows = *rows,
          .eps = static_cast<float>(eps)},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {y, mean, rstd};
}

cpu::AdaLNGrads adaln_backward(const at::Tensor& dout, const cpu::AdaLNSaved& s) {
  const auto type = type_of(s.x);
  const auto rows = rows_of(s.x, s.scale);
  const bool alike = same_type(s.x, s.scale) && same_type(s.x, dout) && s.scale.sizes() == s.shift_shape;
  if (!type || !rows || !alike) return cpu::adaln_backward(dout, s);
  const c10::cuda::CUDAGuard device(s.x.device());
  const at::Tensor xc = s.x.contiguous(), gc = dout.contiguous(), mean = s.mean.contiguous(),
                   rstd = s.rstd.contiguous(), dx = at::empty_like(xc);
  const at::Tensor partial = partial_sums(xc, *rows, 2);
  at::Tensor scales;
  launch({.dout = gc.const_data_ptr(),
          .x = xc.const_data_ptr(),
          .scale = modulation_of(s.scale, scales),
          .mean = mean.const_data_ptr<float>(),
          .rstd = rstd.const_data_ptr<float>(),
          .dx = dx.data_ptr(),
          .dscale = partial.select(0, 0).data_ptr<float>(),
          .dshift = partial.select(0, 1).data_ptr<float>(),
          .rows = *rows},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  cpu::AdaLNGrads grads{.dx = s.wants_dx ? dx : at::Tensor(), .dscale = {}, .dshift = {}};
  if (!s.wants_dscale && !s.wants_dshift) return grads;
  const std::vector<at::Tensor> sums = finish_sums(partial, *rows, s.shift_shape, s.scale);
  if (s.wants_dscale) grads.dscale = sums[0];
  if (s.wants_dshift) grads.dshift = sums[1];
  return grads;
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  const auto type = type_of(x);
  const auto rows = rows_of(x, gate);
  const bool alike = same_type(x, gate) && same_type(x, y) && x.sizes() == y.sizes();
  if (!type || !rows || !alike) return cpu::gated_add(x, gate, y);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), yc = y.contiguous(), out = at::empty_like(xc);
  at::Tensor gates;
  launch({.x = xc.const_data_ptr(),
          .gate = modulation_of(gate, gates),
          .y = yc.const_data_ptr(),
          .out = out.data_ptr(),
          .rows = *rows},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

cpu::GatedAddGrads gated_add_backward(const at::Tensor& dout, const cpu::GatedAddSaved& s) {
  if (!s.wants_dgate || !s.wants_dy) return cpu::gated_add_backward(dout, s);  // one tensor is not there
  const auto type = type_of(dout);
  const auto rows = rows_of(dout, s.gate);
  const bool alike = same_type(dout, s.gate) && same_type(dout, s.y) && dout.sizes() == s.y.sizes();
  if (!type || !rows || !alike) return cpu::gated_add_backward(dout, s);
  const c10::cuda::CUDAGuard device(dout.device());
  const at::Tensor gc = dout.contiguous(), yc = s.y.contiguous(), dy = at::empty_like(gc);
  const at::Tensor partial = partial_sums(gc, *rows, 1);
  at::Tensor gates;
  launch({.dout = gc.const_data_ptr(),
          .y = yc.const_data_ptr(),
          .gate = modulation_of(s.gate, gates),
          .dy = dy.data_ptr(),
          .dgate = partial.data_ptr<float>(),
          .rows = *rows},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {finish_sums(partial, *rows, s.gate_shape, s.gate)[0], dy};
}

}  // namespace orrery::kernels::cuda
