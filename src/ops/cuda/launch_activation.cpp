// Takes the tensors of gelu apart for its kernels, and sends what those do not take to ATen.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>

#include "ops/cuda/launch.h"
#include "ops/kernels.h"

namespace orrery::kernels::cuda {

at::Tensor gelu(const at::Tensor& x) {
  const auto type = type_of(x);
  if (!type || x.numel() == 0) return at::gelu(x);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), y = at::empty_like(xc);
  launch(Gelu{.x = xc.const_data_ptr(), .y = y.data_ptr(), .count = x.numel()}, *type,
         c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

at::Tensor gelu_backward(const at::Tensor& dout, const at::Tensor& x) {
  const auto type = type_of(x);
  const bool alike = dout.scalar_type() == x.scalar_type() && dout.sizes() == x.sizes();
  if (!type || !alike || x.numel() == 0) return at::gelu_backward(dout, x);
  const c10::cuda::CUDAGuard device(x.device());
  const at::Tensor xc = x.contiguous(), gc = dout.contiguous(), dx = at::empty_like(xc);
  launch(
      GeluBackward{
          .dout = gc.const_data_ptr(), .x = xc.const_data_ptr(), .dx = dx.data_ptr(), .count = x.numel()},
      *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dx;
}

}  // namespace orrery::kernels::cuda
