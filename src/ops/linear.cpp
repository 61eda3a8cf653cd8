#include "ops/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/product.h"

namespace orrery {
namespace {

at::Tensor rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

bool is_by_time(const at::Tensor& x) {
  return x.is_cuda() && kernels::chooses_by_time();
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return is_by_time(a) ? kernels::cuda::product(a, b) : at::mm(a, b);
}

// Linear without bias.
at::Tensor unbiased(const at::Tensor& x, const at::Tensor& weight) {
  if (!is_by_time(x)) return at::linear(x, weight);
  Shape shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return kernels::cuda::product(rows(x), weight.t()).view(shape);
}

class Linear final : public Op {
 public:
  std::string_view name() const override { return "linear"; }
  bool saves_input(size_t i) const override { return i < 2; }
  bool takes_undefined() const override { return true; }

  Tensors forward(const Tensors& in) const override {
    // A bias is always ATen's, whose kernels add it before they round.
    return {in[2].defined() ? at::linear(in[0], in[1], in[2]) : unbiased(in[0], in[1])};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    at::Tensor dx, dweight, dbias;
    const at::Tensor dy = rows(dout[0]);
    if (s.needs_grad(0)) dx = product(dy, s.in(1)).view(s.in_shape(0));
    if (s.needs_grad(1)) dweight = product(dy.t(), rows(s.in(0)));
    if (s.needs_grad(2)) dbias = dy.sum(0);
    return {dx, dweight, dbias};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    at::Tensor out;
    const auto add = [&out](const at::Tensor& term) { out = out.defined() ? out + term : term; };
    if (t[0].defined()) add(unbiased(t[0], s.in(1)));
    if (t[1].defined()) add(unbiased(s.in(0), t[1]));
    if (t[2].defined()) add(t[2]);
    Shape shape = s.in_shape(0);
    shape.back() = s.in_shape(1)[0];
    return {out.expand(shape)};
  }

  Engine engine() const override { return Engine::matmul; }
  double forward_flops(const std::vector<Shape>& shapes) const override {
    return 2.0 * static_cast<double>(c10::multiply_integers(shapes[0])) * static_cast<double>(shapes[1][0]);
  }
  double backward_flops(const std::vector<Shape>& shapes,
                        const std::vector<bool>& needs_grad) const override {
    return forward_flops(shapes) * (needs_grad[0] + needs_grad[1]);
  }
};

}  // namespace

Variable ops::linear(const Variable& x, const Variable& weight, const Variable& bias) {
  require(weight.dim() == 2 && weight.size(1) == x.size(-1), "linear: weight ",
          at::IntArrayRef(weight.shape()), " for x ", at::IntArrayRef(x.shape()));
  require(!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)),
          "linear: bias of another size than the ", weight.size(0), " outputs");
  require(x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()), "linear: x is ",
          x.dtype(), ", weight ", weight.dtype());
  return apply_op(std::make_shared<Linear>(), {x, weight, bias})[0];
}

}  // namespace orrery
