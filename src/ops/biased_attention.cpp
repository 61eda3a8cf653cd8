#include "ops/biased_attention.h"

#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/triu.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

// (B,S,n,d) as (B,m,n/m,S,d) in the accumulation type, for m groups of heads: queries meet the one key head
// of their group, whose n/m is 1, by broadcasting.
at::Tensor grouped(const at::Tensor& x, int64_t groups) {
  const int64_t b = x.size(0), s = x.size(1), n = x.size(2), d = x.size(3);
  return to_acc(x).reshape({b, s, groups, n / groups, d}).permute({0, 2, 3, 1, 4});
}

at::Tensor ungrouped(const at::Tensor& x, at::ScalarType type) {
  return x.permute({0, 3, 1, 2, 4}).flatten(2, 3).to(type).contiguous();
}

at::Tensor transposed(const at::Tensor& x) {
  return x.transpose(-1, -2);
}

class BiasedAttention final : public Op {
 public:
  BiasedAttention(double scale, int64_t groups) : scale_(scale), groups_(groups) {}
  std::string_view name() const override { return "biased_attention"; }

  Tensors forward(const Tensors& in) const override {
    const at::Tensor p = probabilities(heads(in[0]), heads(in[1]), in[3]);
    return {ungrouped(at::matmul(p, heads(in[2])), in[0].scalar_type())};
  }

  // With P = softmax(S): dS = P * (dP - rowsum(P * dP)).
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const at::Tensor q = heads(s.in(0)), k = heads(s.in(1)), v = heads(s.in(2)), d = heads(dout[0]);
    const at::Tensor p = probabilities(q, k, s.in(3)), dp = at::matmul(d, transposed(v));
    const at::Tensor ds = p * (dp - (p * dp).sum(-1, true)), dx = ds * scale_;
    const auto of_group = [](const at::Tensor& x) { return x.sum(2, true); };
    return {ungrouped(at::matmul(dx, k), s.in_dtype(0)),
            ungrouped(of_group(at::matmul(transposed(dx), q)), s.in_dtype(1)),
            ungrouped(of_group(at::matmul(transposed(p), d)), s.in_dtype(2)),
            s.needs_grad(3) ? sum_to(ds.flatten(1, 2), s.in_shape(3), s.in_dtype(3)) : at::Tensor()};
  }

  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const at::Tensor q = heads(s.in(0)), k = heads(s.in(1)), v = heads(s.in(2));
    const at::Tensor p = probabilities(q, k, s.in(3));
    const at::Tensor ts =
        scale_ * (at::matmul(heads(t[0]), transposed(k)) + at::matmul(q, transposed(heads(t[1])))) +
        by_group(t[3]);
    const at::Tensor tp = p * (ts - (p * ts).sum(-1, true));
    return {ungrouped(at::matmul(tp, v) + at::matmul(p, heads(t[2])), s.in_dtype(0))};
  }

  Engine engine() const override { return Engine::attention; }
  double forward_flops(const std::vector<Shape>& shapes) const override {  // two products of (S,d) and (d,N)
    return 4.0 * static_cast<double>(c10::multiply_integers(shapes[0])) * static_cast<double>(shapes[1][1]);
  }
  double backward_flops(const std::vector<Shape>& shapes, const std::vector<bool>&) const override {
    return 2.5 * forward_flops(shapes);
  }

 private:
  at::Tensor heads(const at::Tensor& x) const { return grouped(x, groups_); }
  // (n,S,N) as (m,n/m,S,N), (1,S,N) as (1,1,S,N)
  at::Tensor by_group(const at::Tensor& bias) const {
    const int64_t groups = bias.size(0) == 1 ? 1 : groups_;
    return bias.reshape({groups, bias.size(0) / groups, bias.size(1), bias.size(2)});
  }
  at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, const at::Tensor& bias) const {
    return at::softmax(at::matmul(q, transposed(k)).mul_(scale_).add_(by_group(bias)), -1);
  }
  double scale_;
  int64_t groups_;
};

}  // namespace

Variable ops::biased_attention(const Variable& q, const Variable& k, const Variable& v, const Variable& bias,
                               double scale) {
  const auto shapes = [&] {
    return text_of("q ", at::IntArrayRef(q.shape()), ", k ", at::IntArrayRef(k.shape()), ", v ",
                   at::IntArrayRef(v.shape()), ", bias ", at::IntArrayRef(bias.shape()));
  };
  require(q.dim() == 4 && k.dim() == 4 && k.shape() == v.shape() && q.size(0) == k.size(0) &&
              q.size(3) == k.size(3) && k.size(2) >= 1 && q.size(2) % k.size(2) == 0,
          "biased_attention: wanted q (B,S,n,d), k and v (B,N,m,d) with m a divisor of n, got ", shapes());
  require(bias.dim() == 3 && (bias.size(0) == q.size(2) || bias.size(0) == 1) && bias.size(1) == q.size(1) &&
              bias.size(2) == k.size(1),
          "biased_attention: wanted bias (n,S,N) or (1,S,N), got ", shapes());
  require(q.dtype() == k.dtype() && q.dtype() == v.dtype() && bias.dtype() == acc_type(q.dtype()),
          "biased_attention: q is ", q.dtype(), ", k ", k.dtype(), ", v ", v.dtype(), ", bias ",
          bias.dtype());
  return apply_op(std::make_shared<BiasedAttention>(scale, k.size(2)), {q, k, v, bias})[0];
}

at::Tensor ops::causal_bias(int64_t tokens, const at::TensorOptions& options) {
  return at::full({1, tokens, tokens}, -std::numeric_limits<double>::infinity(), options).triu_(1);
}

}  // namespace orrery
