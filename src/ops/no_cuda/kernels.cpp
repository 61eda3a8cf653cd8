// CPU builds link these in place of cuda/: CUDA tensors cannot exist there.
#include "ops/kernels.h"
#include "base/error.h"

namespace orrery::kernels::cuda {
namespace {

[[noreturn]] void refuse(const char* kernel) {
  fail(kernel,
       ": tensor on a CUDA device, but this program was built without CUDA (preset cpu, wanted cuda)");
}

}  // namespace

at::Tensor gated_add(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  refuse("gated_add");
}

cpu::Attention attention(const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  refuse("attention");
}

cpu::AttentionGrads attention_backward(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                       const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  refuse("attention");
}

at::Tensor attention_jvp(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                         const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  refuse("attention");
}

FusedAttention fused_attention() {
  return {};
}

}  // namespace orrery::kernels::cuda
