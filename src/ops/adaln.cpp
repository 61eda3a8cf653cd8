#include "ops/adaln.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class AdaLN final : public Op {
 public:
  explicit AdaLN(double eps) : eps_(eps) {}
  std::string_view name() const override { return "adaln"; }
  bool saves_input(size_t i) const override { return i < 2; }
  bool saves_output(size_t i) const override { return i > 0; }

  Tensors forward(const Tensors& in) const override {
    const auto run = in[0].is_cuda() ? kernels::cuda::adaln : kernels::cpu::adaln;
    auto [y, mean, rstd] = run(in[0], in[1], in[2], eps_);
    return {y, mean, rstd};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const auto run = dout[0].is_cuda() ? kernels::cuda::adaln_backward : kernels::cpu::adaln_backward;
    auto [dx, dscale, dshift] = run(dout[0], {.x = s.in(0),
                                              .scale = s.in(1),
                                              .mean = s.out(1),
                                              .rstd = s.out(2),
                                              .shift_shape = s.in_shape(2),
                                              .wants_dx = s.needs_grad(0),
                                              .wants_dscale = s.needs_grad(1),
                                              .wants_dshift = s.needs_grad(2)});
    return {dx, dscale, dshift};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const at::Tensor norm = normalised(s), tx = to_acc(t[0]);
    const at::Tensor tnorm = s.out(2) * (tx - tx.mean(-1, true) - norm * (tx * norm).mean(-1, true));
    return {(tnorm * (1 + to_acc(s.in(1))) + norm * to_acc(t[1]) + to_acc(t[2])).to(s.in_dtype(0))};
  }

 private:
  static at::Tensor normalised(const Saved& s) { return (to_acc(s.in(0)) - s.out(1)) * s.out(2); }
  double eps_;
};

class GatedAdd final : public Op {
 public:
  std::string_view name() const override { return "gated_add"; }
  bool saves_input(size_t i) const override { return i > 0; }

  Tensors forward(const Tensors& in) const override {
    const auto run = in[0].is_cuda() ? kernels::cuda::gated_add : kernels::cpu::gated_add;
    return {run(in[0], in[1], in[2])};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const auto run = dout[0].is_cuda() ? kernels::cuda::gated_add_backward : kernels::cpu::gated_add_backward;
    auto [dgate, dy] = run(dout[0], {.gate = s.needs_grad(2) ? s.in(1) : at::Tensor(),
                                     .y = s.needs_grad(1) ? s.in(2) : at::Tensor(),
                                     .gate_shape = s.in_shape(1),
                                     .wants_dgate = s.needs_grad(1),
                                     .wants_dy = s.needs_grad(2)});
    return {dout[0], dgate, dy};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    return {t[0] + t[1] * s.in(2) + s.in(1) * t[2]};
  }
};

}  // namespace

Variable ops::adaln(const Variable& x, const Variable& scale, const Variable& shift, double eps) {
  require(scale.shape().back() == x.shape().back() && shift.shape().back() == x.shape().back(),
          "adaln: scale ", at::IntArrayRef(scale.shape()), " and shift ", at::IntArrayRef(shift.shape()),
          " for x ", at::IntArrayRef(x.shape()));
  require(x.dtype() == scale.dtype() && x.dtype() == shift.dtype(), "adaln: x is ", x.dtype(), ", scale ",
          scale.dtype(), ", shift ", shift.dtype());
  return apply_op(std::make_shared<AdaLN>(eps), {x, scale, shift})[0];
}

Variable ops::gated_add(const Variable& x, const Variable& gate, const Variable& y) {
  require(x.shape() == y.shape(), "gated_add: x ", at::IntArrayRef(x.shape()), " and y ",
          at::IntArrayRef(y.shape()));
  require(x.dtype() == gate.dtype() && x.dtype() == y.dtype(), "gated_add: x is ", x.dtype(), ", gate ",
          gate.dtype(), ", y ", y.dtype());
  return apply_op(std::make_shared<GatedAdd>(), {x, gate, y})[0];
}

}  // namespace orrery
