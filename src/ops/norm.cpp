#include "ops/norm.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"
#include "ops/norm_jvp.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class RmsNorm final : public Op {
 public:
  explicit RmsNorm(double eps) : eps_(eps) {}
  std::string_view name() const override { return "rms_norm"; }
  bool saves_output(size_t i) const override { return i == 1; }

  Tensors forward(const Tensors& in) const override {
    const auto run = in[0].is_cuda() ? kernels::cuda::rms_norm : kernels::cpu::rms_norm;
    auto [y, rstd] = run(in[0], in[1], eps_);
    return {y, rstd};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const auto run = dout[0].is_cuda() ? kernels::cuda::rms_norm_backward : kernels::cpu::rms_norm_backward;
    auto [dx, dweight] = run(dout[0], {.x = s.in(0),
                                       .weight = s.in(1),
                                       .rstd = s.out(1),
                                       .wants_dx = s.needs_grad(0),
                                       .wants_dweight = s.needs_grad(1)});
    return {dx, dweight};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override { return {rms_norm_jvp(s, t)}; }

 private:
  double eps_;
};

}  // namespace

at::Tensor rms_norm_jvp(const Saved& s, const Tensors& t) {
  const at::Tensor norm = to_acc(s.in(0)) * s.out(1), v = to_acc(t[0]);
  const at::Tensor projected = s.out(1) * (v - norm * (v * norm).mean(-1, true));  // Jacobian of x / rms(x)
  return (projected * to_acc(s.in(1)) + norm * to_acc(t[1])).to(s.in_dtype(0));
}

Variable ops::rms_norm(const Variable& x, const Variable& weight, double eps) {
  require(weight.dim() == 1 && weight.size(0) == x.size(-1), "rms_norm: weight ",
          at::IntArrayRef(weight.shape()), " for x ", at::IntArrayRef(x.shape()));
  return apply_op(std::make_shared<RmsNorm>(eps), {x, weight})[0];
}

}  // namespace orrery
