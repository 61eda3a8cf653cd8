#include "ops/norm_rope.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"
#include "ops/norm_jvp.h"

namespace orrery {
namespace {

class RmsNormRope final : public Op {
 public:
  RmsNormRope(double eps, kernels::HeadTurn turn) : eps_(eps), turn_(std::move(turn)) {}
  std::string_view name() const override { return "rms_norm_rope"; }
  bool saves_output(size_t i) const override { return i == 1; }

  Tensors forward(const Tensors& in) const override {
    const auto run = in[0].is_cuda() ? kernels::cuda::rms_norm_rope : kernels::cpu::rms_norm_rope;
    auto [y, rstd] = run(in[0], in[1], eps_, turn_);
    return {y, rstd};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const auto run =
        dout[0].is_cuda() ? kernels::cuda::rms_norm_rope_backward : kernels::cpu::rms_norm_rope_backward;
    auto [dx, dweight] = run(dout[0],
                             {.x = s.in(0),
                              .weight = s.in(1),
                              .rstd = s.out(1),
                              .wants_dx = s.needs_grad(0),
                              .wants_dweight = s.needs_grad(1)},
                             turn_);
    return {dx, dweight};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const at::Tensor normed = rms_norm_jvp(s, t);
    const auto run = normed.is_cuda() ? kernels::cuda::rope : kernels::cpu::rope;
    return {split_heads(run(normed, turn_.cos, turn_.sin), turn_.split)};
  }

 private:
  double eps_;
  kernels::HeadTurn turn_;
};

}  // namespace

Variable ops::rms_norm_rope(const Variable& x, const Variable& weight, double eps, const at::Tensor& cos,
                            const at::Tensor& sin, const HeadSplit& split) {
  require(x.dim() == 4 && weight.dim() == 1 && weight.size(0) == x.size(3) && x.size(3) % 2 == 0,
          "rms_norm_rope: weight ", at::IntArrayRef(weight.shape()), " for x ", at::IntArrayRef(x.shape()),
          ", wanted (B,S,n,d) with an even d");
  const Shape want = {x.size(1), x.size(3) / 2};
  require(cos.sizes() == at::IntArrayRef(want) && sin.sizes() == cos.sizes(), "rms_norm_rope: tables ",
          cos.sizes(), " and ", sin.sizes(), " for x ", at::IntArrayRef(x.shape()), ", wanted ",
          at::IntArrayRef(want));
  require(split.divides(x.size(2)), "rms_norm_rope: ", x.size(2), " heads for ", split.receivers,
          " receivers in ", split.groups, " groups, wanted equal parts");
  return apply_op(std::make_shared<RmsNormRope>(eps, kernels::HeadTurn{cos, sin, split}), {x, weight})[0];
}

}  // namespace orrery
