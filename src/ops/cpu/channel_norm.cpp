// Frame by frame: ATen's sums and exponentials round by the size of what they are given.
#include <ATen/ops/cat.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

#include <cmath>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::cpu {
namespace {

constexpr double kMinNorm = 1e-12;  // torch.nn.functional.normalize

double root_of_channels(const at::Tensor& x) {
  return std::sqrt(static_cast<double>(x.size(1)));
}

at::Tensor norm_of(const at::Tensor& x) {
  return to_acc(x).square().sum(1, true).sqrt();
}

at::Tensor along_channels(const at::Tensor& gamma) {
  return gamma.reshape({1, -1, 1, 1, 1});
}

}  // namespace

at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& gamma, bool has_silu) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& frame : x.split(1, 2)) {
    const at::Tensor f = frame.contiguous();
    const at::Tensor norm = norm_of(f).to(f.scalar_type()).clamp_min_(kMinNorm);
    // ATen's product with a number rounds that to a half type first on the CPU, but not on a GPU.
    const at::Tensor scaled = to_acc(f / norm).mul_(root_of_channels(f)).to(f.scalar_type());
    const at::Tensor y = scaled * along_channels(gamma);
    out.push_back(has_silu ? at::silu(y) : y);
  }
  return at::cat(out, 2);
}

ChannelUnits channel_units(const at::Tensor& x, const at::Tensor& gamma) {
  const at::Tensor norm = norm_of(x).clamp_min_(kMinNorm);
  return {to_acc(x) / norm, norm, along_channels(to_acc(gamma)) * root_of_channels(x)};
}

at::Tensor project_channels(const at::Tensor& v, const at::Tensor& unit, const at::Tensor& norm) {
  const at::Tensor along = (v * unit).sum(1, true) * norm.gt(kMinNorm);  // below it the norm is a constant
  return (v - unit * along) / norm;
}

ChannelNormGrads channel_norm_backward(const at::Tensor& dout, const ChannelNormSaved& s) {
  const auto [unit, norm, gain] = channel_units(s.x, s.gamma);
  const at::Tensor g = s.has_silu ? at::silu_backward(to_acc(dout), unit * gain) : to_acc(dout);
  ChannelNormGrads grads;
  if (s.wants_dx) grads.dx = project_channels(g * gain, unit, norm).to(s.x.scalar_type());
  if (s.wants_dgamma)
    grads.dgamma = ((g * unit).sum(at::IntArrayRef{0, 2, 3, 4}) * root_of_channels(s.x))
                       .view(s.gamma.sizes())
                       .to(s.gamma.scalar_type());
  return grads;
}

}  // namespace orrery::kernels::cpu
