// Takes tensors apart for the kernels, and sends what they do not take to the reference.
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ops/cuda/entry.h"
#include "ops/kernels.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 38;  // a grid holds 2^31 - 1 blocks

std::optional<Type> type_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return Type::float32;
    case at::kBFloat16:
      return Type::bfloat16;
    case at::kHalf:
      return Type::float16;
    default:
      return std::nullopt;
  }
}

// How many consecutive rows of x (all dimensions but the last) share one row of `gate`, when gate's shape is
// x's with a run of 1s before the last dimension, as (B,T,1,1,D) for (B,T,H,W,D).
std::optional<int64_t> rows_per_gate(const at::Tensor& x, const at::Tensor& gate) {
  if (gate.dim() != x.dim() || x.dim() == 0 || gate.size(-1) != x.size(-1)) return std::nullopt;
  int64_t dim = x.dim() - 2, shared = 1;
  for (; dim >= 0 && gate.size(dim) == 1; --dim) shared *= x.size(dim);
  for (; dim >= 0; --dim) {
    if (gate.size(dim) != x.size(dim)) return std::nullopt;
  }
  return shared;
}

}  // namespace

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  const auto type = type_of(x);
  const auto shared = rows_per_gate(x, gate);
  const bool alike =
      gate.scalar_type() == x.scalar_type() && y.scalar_type() == x.scalar_type() && x.sizes() == y.sizes();
  if (!type || !shared || !alike || x.numel() == 0 || x.numel() > kMaxElements)
    return cpu::gated_add(x, gate, y);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), gc = gate.contiguous(), yc = y.contiguous(), out = at::empty_like(xc);
  launch({.x = xc.const_data_ptr(),
          .gate = gc.const_data_ptr(),
          .y = yc.const_data_ptr(),
          .out = out.data_ptr(),
          .rows = x.numel() / x.size(-1),
          .rows_per_gate = *shared,
          .width = x.size(-1)},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

}  // namespace orrery::kernels::cuda
