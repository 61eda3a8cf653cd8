// CPU builds link these in place of cuda/: CUDA tensors cannot exist there.
#include "ops/kernels.h"
#include "base/error.h"
#include "ops/product.h"

namespace orrery::kernels::cuda {
namespace {

[[noreturn]] void refuse(const char* kernel) {
  fail(kernel,
       ": tensor on a CUDA device, but this program was built without CUDA (preset cpu, wanted cuda)");
}

}  // namespace

cpu::AdaLN adaln(const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  refuse("adaln");
}
cpu::AdaLNGrads adaln_backward(const at::Tensor&, const cpu::AdaLNSaved&) {
  refuse("adaln_backward");
}
at::Tensor gated_add(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  refuse("gated_add");
}
cpu::GatedAddGrads gated_add_backward(const at::Tensor&, const cpu::GatedAddSaved&) {
  refuse("gated_add_backward");
}
cpu::RmsNorm rms_norm(const at::Tensor&, const at::Tensor&, double) {
  refuse("rms_norm");
}
cpu::RmsNormGrads rms_norm_backward(const at::Tensor&, const cpu::RmsNormSaved&) {
  refuse("rms_norm_backward");
}
at::Tensor rope(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  refuse("rope");
}
at::Tensor rope_inverse(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  refuse("rope_inverse");
}
cpu::RmsNorm rms_norm_rope(const at::Tensor&, const at::Tensor&, double, const HeadTurn&) {
  refuse("rms_norm_rope");
}
cpu::RmsNormGrads rms_norm_rope_backward(const at::Tensor&, const cpu::RmsNormSaved&, const HeadTurn&) {
  refuse("rms_norm_rope_backward");
}
at::Tensor gelu(const at::Tensor&) {
  refuse("gelu");
}
at::Tensor gelu_backward(const at::Tensor&, const at::Tensor&) {
  refuse("gelu_backward");
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

bool has_tiled_attention() {
  return false;
}

FusedAttention fused_attention() {
  return {};
}

at::Tensor conv3d(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                  const at::Tensor&, const ConvGeometry&) {
  refuse("conv3d");
}
at::Tensor channel_norm(const at::Tensor&, const at::Tensor&, bool, const at::Tensor&, const Halo&) {
  refuse("channel_norm");
}
at::Tensor upsample_nearest(const at::Tensor&, int64_t, const at::Tensor&, const Halo&) {
  refuse("upsample_nearest");
}
at::Tensor channels_to_frames(const at::Tensor&, int64_t) {
  refuse("channels_to_frames");
}

FusedConv fused_conv() {
  return {};
}

at::Tensor product(const at::Tensor&, const at::Tensor&) {
  refuse("product");
}

Products products() {
  return {};
}

}  // namespace orrery::kernels::cuda
