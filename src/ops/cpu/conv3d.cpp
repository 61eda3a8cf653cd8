// One frame of the result after the other, each by a convolution of the same sizes: what ATen chooses by size
// (algorithm, blocking) is then the same for a film in parts and the whole film, and so are the bits.
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/convolution_backward.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {
namespace {

at::Tensor joined(const at::Tensor& x, const at::Tensor& history, const ConvGeometry& g) {
  const at::Tensor frames = history.defined() ? at::cat({history, x}, 2) : x;
  return at::constant_pad_nd(frames, {g.pad_before[2], g.pad_after[2], g.pad_before[1], g.pad_after[1],
                                      g.pad_before[0], g.pad_after[0]});
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       const ConvGeometry& g) {
  if (x.is_meta()) return meta::conv3d(x, weight, {g.stride[1], g.stride[2]});
  return at::conv3d(x, weight, bias, {1, g.stride[1], g.stride[2]});
}

}  // namespace

at::Tensor conv3d(const at::Tensor& x, const at::Tensor& history, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvGeometry& g) {
  const at::Tensor frames = joined(x, history, g), w = to_acc(weight);
  const auto b = bias.defined() ? std::optional<at::Tensor>(to_acc(bias)) : std::nullopt;
  std::vector<at::Tensor> out;
  for (int64_t t = 0; t + weight.size(2) <= frames.size(2); t += g.stride[0]) {
    const at::Tensor under_kernel = to_acc(frames.narrow(2, t, weight.size(2))).contiguous();
    out.push_back(convolution(under_kernel, w, b, g).to(x.scalar_type()));
  }
  return at::cat(out, 2);
}

Conv3dGrads conv3d_backward(const at::Tensor& dout, const Conv3dSaved& s, const ConvGeometry& g) {
  const at::Tensor frames = joined(s.x, s.history, g);
  const auto [dframes, dweight, dbias] = at::convolution_backward(
      to_acc(dout), to_acc(frames), to_acc(s.weight), at::IntArrayRef{s.weight.size(0)}, g.stride, {0, 0, 0},
      {1, 1, 1}, false, {0, 0, 0}, 1, {s.wants_dx, s.wants_dweight, s.wants_dbias});
  Conv3dGrads grads;
  if (s.wants_dx) {
    const at::Tensor inner = dframes.narrow(3, g.pad_before[1], s.x.size(3))
                                 .narrow(4, g.pad_before[2], s.x.size(4))
                                 .to(s.x.scalar_type());
    const int64_t before = s.history.defined() ? s.history.size(2) : 0;
    grads.dx = inner.narrow(2, g.pad_before[0] + before, s.x.size(2));
    if (before > 0) grads.dhistory = inner.narrow(2, g.pad_before[0], before);
  }
  if (s.wants_dweight) grads.dweight = dweight.to(s.weight.scalar_type());
  if (s.wants_dbias) grads.dbias = dbias.to(s.weight.scalar_type());
  return grads;
}

}  // namespace orrery::kernels::cpu
