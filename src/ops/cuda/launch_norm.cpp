// Takes the tensors of rms_norm, of rope and of both apart for their kernels, and sends what those do not
// take to the reference.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "ops/cuda/launch.h"
#include "ops/kernels.h"

namespace orrery::kernels::cuda {
namespace {

bool takes_norm(const at::Tensor& x, const at::Tensor& weight) {
  return type_of(x) && type_of(weight) && weight.dim() == 1 && x.numel() > 0 && x.size(-1) <= kMaxNormWidth &&
         x.numel() / x.size(-1) <= kMaxRows;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  const auto type = type_of(x);
  const bool takes = type && x.numel() > 0 && x.numel() / 2 <= kMaxRopeThreads &&
                     cos.scalar_type() == at::kFloat && sin.scalar_type() == at::kFloat;
  if (!takes) return inverse ? cpu::rope_inverse(x, cos, sin) : cpu::rope(x, cos, sin);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous(),
                   y = at::empty_like(xc);
  launch({.x = xc.const_data_ptr(),
          .cos = cosines.const_data_ptr<float>(),
          .sin = sines.const_data_ptr<float>(),
          .y = y.data_ptr(),
          .tokens = x.size(0) * x.size(1),
          .positions = x.size(1),
          .heads = x.size(2),
          .half = x.size(3) / 2,
          .inverse = inverse},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

bool takes_both(const at::Tensor& x, const at::Tensor& weight, const HeadTurn& turn) {
  const auto row_bytes = static_cast<int64_t>(x.size(-1) * x.element_size());
  return takes_norm(x, weight) && x.size(2) <= kMaxHeads &&
         (row_bytes == 128 || row_bytes == 256 || row_bytes == 512) && turn.cos.scalar_type() == at::kFloat &&
         turn.sin.scalar_type() == at::kFloat;
}

bool begins_at_16_bytes(const at::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
}
at::Tensor aligned_rows(const at::Tensor& t) {  // contiguous
  const at::Tensor dense = t.contiguous();
  return begins_at_16_bytes(dense) ? dense : dense.clone();
}

// The second stage of dweight.
at::Tensor sum_of_rows(const at::Tensor& partial, const at::Tensor& weight) {
  const at::Tensor sum = at::empty(weight.sizes(), weight.options());
  launch({.partial = {partial.const_data_ptr<float>()},
          .out = {sum.data_ptr()},
          .frames = 1,
          .strips = partial.size(0),
          .width = partial.size(1)},
         *type_of(weight), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return sum;
}

HeadSlots slots_of(const HeadSplit& split) {
  return {.receivers = split.receivers, .groups = split.groups};
}
std::vector<int64_t> split_shape(const at::Tensor& x, const HeadSplit& split) {
  if (split.parts() == 1) return x.sizes().vec();
  return {split.groups, split.receivers, x.size(0), x.size(1), x.size(2) / split.parts(), x.size(3)};
}

}  // namespace

cpu::RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!takes_norm(x, weight)) return cpu::rms_norm(x, weight, eps);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), wc = weight.contiguous(), y = at::empty_like(xc);
  auto shape = x.sizes().vec();
  shape.back() = 1;
  const at::Tensor rstd = at::empty(shape, x.options().dtype(at::kFloat));
  launch({.x = xc.const_data_ptr(),
          .weight = wc.const_data_ptr(),
          .weight_type = *type_of(weight),
          .y = y.data_ptr(),
          .rstd = rstd.data_ptr<float>(),
          .count = rstd.numel(),
          .width = x.size(-1),
          .eps = static_cast<float>(eps)},
         *type_of(x), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {y, rstd};
}

cpu::RmsNormGrads rms_norm_backward(const at::Tensor& dout, const cpu::RmsNormSaved& s) {
  if (!takes_norm(s.x, s.weight) || dout.scalar_type() != s.x.scalar_type())
    return cpu::rms_norm_backward(dout, s);
  const c10::cuda::CUDAGuard device(s.x.device());
  const at::Tensor xc = s.x.contiguous(), gc = dout.contiguous(), wc = s.weight.contiguous(),
                   rstd = s.rstd.contiguous(), dx = at::empty_like(xc);
  const int64_t blocks = norm_blocks(rstd.numel()), width = s.x.size(-1);
  const at::Tensor partial = at::empty({blocks, width}, xc.options().dtype(at::kFloat));
  launch({.dout = gc.const_data_ptr(),
          .x = xc.const_data_ptr(),
          .weight = wc.const_data_ptr(),
          .weight_type = *type_of(s.weight),
          .rstd = rstd.const_data_ptr<float>(),
          .dx = dx.data_ptr(),
          .dweight = partial.data_ptr<float>(),
          .count = rstd.numel(),
          .width = width},
         *type_of(s.x), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  cpu::RmsNormGrads grads{.dx = s.wants_dx ? dx : at::Tensor(), .dweight = {}};
  if (s.wants_dweight) grads.dweight = sum_of_rows(partial, s.weight);
  return grads;
}

cpu::RmsNorm rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const HeadTurn& turn) {
  if (!takes_both(x, weight, turn)) {
    auto [y, rstd] = cuda::rms_norm(x, weight, eps);
    return {split_heads(cuda::rope(y, turn.cos, turn.sin), turn.split), rstd};
  }
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = aligned_rows(x), wc = weight.contiguous(), cos = aligned_rows(turn.cos),
                   sin = aligned_rows(turn.sin);
  const at::Tensor y = at::empty(split_shape(x, turn.split), x.options());
  const at::Tensor rstd = at::empty({x.size(0), x.size(1), x.size(2), 1}, x.options().dtype(at::kFloat));
  launch({.x = xc.const_data_ptr(),
          .weight = wc.const_data_ptr(),
          .weight_type = *type_of(weight),
          .cos = cos.const_data_ptr<float>(),
          .sin = sin.const_data_ptr<float>(),
          .y = y.data_ptr(),
          .rstd = rstd.data_ptr<float>(),
          .tokens = x.size(0) * x.size(1),
          .positions = x.size(1),
          .heads = x.size(2),
          .half = x.size(3) / 2,
          .slots = slots_of(turn.split),
          .eps = static_cast<float>(eps)},
         *type_of(x), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {y, rstd};
}

cpu::RmsNormGrads rms_norm_rope_backward(const at::Tensor& dout, const cpu::RmsNormSaved& s,
                                         const HeadTurn& turn) {
  if (!takes_both(s.x, s.weight, turn) || dout.scalar_type() != s.x.scalar_type())
    return cuda::rms_norm_backward(cuda::rope_inverse(joined_heads(dout, turn.split), turn.cos, turn.sin), s);
  const c10::cuda::CUDAGuard device(s.x.device());
  const at::Tensor xc = aligned_rows(s.x), gc = aligned_rows(dout), wc = s.weight.contiguous(),
                   rstd = s.rstd.contiguous(), cos = aligned_rows(turn.cos), sin = aligned_rows(turn.sin),
                   dx = at::empty_like(xc);
  const at::Tensor partial =
      at::empty({norm_blocks(rstd.numel()), s.x.size(3)}, xc.options().dtype(at::kFloat));
  launch({.dout = gc.const_data_ptr(),
          .x = xc.const_data_ptr(),
          .weight = wc.const_data_ptr(),
          .weight_type = *type_of(s.weight),
          .cos = cos.const_data_ptr<float>(),
          .sin = sin.const_data_ptr<float>(),
          .rstd = rstd.const_data_ptr<float>(),
          .dx = dx.data_ptr(),
          .dweight = partial.data_ptr<float>(),
          .tokens = s.x.size(0) * s.x.size(1),
          .positions = s.x.size(1),
          .heads = s.x.size(2),
          .half = s.x.size(3) / 2,
          .slots = slots_of(turn.split)},
         *type_of(s.x), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  cpu::RmsNormGrads grads{.dx = s.wants_dx ? dx : at::Tensor(), .dweight = {}};
  if (s.wants_dweight) grads.dweight = sum_of_rows(partial, s.weight);
  return grads;
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return rotate(x, cos, sin, /*inverse=*/false);
}
at::Tensor rope_inverse(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return rotate(x, cos, sin, /*inverse=*/true);
}

}  // namespace orrery::kernels::cuda
