#include "ops/channel_norm.h"

#include <ATen/ops/silu_backward.h>

#include <cmath>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class ChannelNorm final : public Op {
 public:
  explicit ChannelNorm(bool has_silu) : has_silu_(has_silu) {}
  std::string_view name() const override { return has_silu_ ? "channel_norm_silu" : "channel_norm"; }

  Tensors forward(const Tensors& in) const override {
    if (in[0].is_cuda()) return {kernels::cuda::channel_norm(in[0], in[1], has_silu_, {}, {})};
    return {kernels::cpu::channel_norm(in[0], in[1], has_silu_)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    auto [dx, dgamma] = kernels::cpu::channel_norm_backward(dout[0], {.x = s.in(0),
                                                                      .gamma = s.in(1),
                                                                      .has_silu = has_silu_,
                                                                      .wants_dx = s.needs_grad(0),
                                                                      .wants_dgamma = s.needs_grad(1)});
    return {dx, dgamma};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const auto [unit, norm, gain] = kernels::cpu::channel_units(s.in(0), s.in(1));
    const at::Tensor gain_tangent =
        to_acc(t[1]).view(gain.sizes()) * std::sqrt(static_cast<double>(unit.size(1)));
    const at::Tensor ty =
        kernels::cpu::project_channels(to_acc(t[0]), unit, norm) * gain + unit * gain_tangent;
    return {(has_silu_ ? at::silu_backward(ty, unit * gain) : ty).to(s.in_dtype(0))};
  }

 private:
  bool has_silu_;
};

Variable run(const Variable& x, const Variable& gamma, bool has_silu) {
  ops::check_norm(x, gamma);
  return apply_op(std::make_shared<ChannelNorm>(has_silu), {x, gamma})[0];
}

}  // namespace

void ops::check_norm(const Variable& x, const Variable& gamma) {
  require(x.dim() == 5 && c10::multiply_integers(gamma.shape()) == x.size(1), "channel_norm: gamma ",
          at::IntArrayRef(gamma.shape()), " for x ", at::IntArrayRef(x.shape()), ", wanted (B,C,T,H,W)");
  require(x.dtype() == gamma.dtype(), "channel_norm: x is ", x.dtype(), ", gamma ", gamma.dtype());
}

Variable ops::channel_norm(const Variable& x, const Variable& gamma) {
  return run(x, gamma, false);
}

Variable ops::channel_norm_silu(const Variable& x, const Variable& gamma) {
  return run(x, gamma, true);
}

}  // namespace orrery
