#include "ops/attention.h"

#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

class AttentionOp final : public Op {
 public:
  explicit AttentionOp(double scale) : scale_(scale) {}
  std::string_view name() const override { return "attention"; }
  bool saves_output(size_t) const override { return true; }
  size_t num_results() const override { return 2; }
  bool takes_undefined() const override { return true; }

  Tensors forward(const Tensors& in) const override {
    const auto run = in[0].is_cuda() ? kernels::cuda::attention : kernels::cpu::attention;
    auto [out, lse] = run(in[0], in[1], in[2], scale_);
    return {out, lse};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    require(dout[0].defined() && !dout[1].defined(), "attention: the log-sum-exp has no gradient");
    const auto run = dout[0].is_cuda() ? kernels::cuda::attention_backward : kernels::cpu::attention_backward;
    auto [dq, dk, dv] = run(dout[0], s.in(0), s.in(1), s.in(2), s.out(0), s.out(1), scale_);
    return {dq, dk, dv};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const auto or_zero = [&](size_t i) { return t[i].defined() ? t[i] : at::zeros_like(s.in(i)); };
    const auto run = s.in(0).is_cuda() ? kernels::cuda::attention_jvp : kernels::cpu::attention_jvp;
    return {run(s.in(0), s.in(1), s.in(2), s.out(0), s.out(1), or_zero(0), or_zero(1), or_zero(2), scale_),
            at::Tensor()};
  }

  Engine engine() const override { return Engine::attention; }
  double forward_flops(
      const std::vector<Shape>& shapes) const override {  // two products of (Sq,d) and (d,Sk)
    return 4.0 * static_cast<double>(c10::multiply_integers(shapes[0])) * static_cast<double>(shapes[1][1]);
  }
  // Five products: the scores again, and one each for dV, dP, dQ and dK.
  double backward_flops(const std::vector<Shape>& shapes, const std::vector<bool>&) const override {
    return 2.5 * forward_flops(shapes);
  }

 private:
  double scale_;
};

}  // namespace

AttentionResult ops::attention_with_lse(const Variable& q, const Variable& k, const Variable& v) {
  const auto describe = [&] {
    return text_of("q ", at::IntArrayRef(q.shape()), ", k ", at::IntArrayRef(k.shape()), ", v ",
                   at::IntArrayRef(v.shape()));
  };
  require(q.dim() == 4 && k.dim() == 4 && k.shape() == v.shape() && q.size(0) == k.size(0) &&
              q.size(2) == k.size(2) && q.size(3) == k.size(3),
          "attention: wanted (B,S,n,d) with equal B, n and d, got ", describe());
  require(q.dtype() == k.dtype() && q.dtype() == v.dtype(), "attention: q is ", q.dtype(), ", k ", k.dtype(),
          ", v ", v.dtype());
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const Variables out = apply_op(std::make_shared<AttentionOp>(scale), {q, k, v});
  return {out[0], out[1].value()};
}

Variable ops::attention(const Variable& q, const Variable& k, const Variable& v) {
  return attention_with_lse(q, k, v).out;
}

DeferredAttentionFn deferred(AttentionFn attention) {
  return [attention = std::move(attention)](const Deferred& q, const Deferred& k, const Deferred& v) {
    const Variable made_q = q(), made_k = k(), made_v = v();
    return attention(made_q, made_k, made_v);
  };
}

}  // namespace orrery
