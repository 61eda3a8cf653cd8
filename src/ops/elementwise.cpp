#include "ops/elementwise.h"

#include <ATen/ops/neg.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

// a + sign * b
class Add final : public Op {
 public:
  explicit Add(int sign) : sign_(sign) {}
  std::string_view name() const override { return sign_ > 0 ? "add" : "sub"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {sign_ > 0 ? in[0] + in[1] : in[0] - in[1]}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    at::Tensor da, db;
    if (s.needs_grad(0)) da = summed(s, 0, dout[0]);
    if (s.needs_grad(1)) db = summed(s, 1, sign_ > 0 ? dout[0] : at::neg(dout[0]));
    return {da, db};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  static at::Tensor summed(const Saved& s, size_t i, const at::Tensor& g) {
    return g.sizes() == at::IntArrayRef(s.in_shape(i)) ? g : sum_to(to_acc(g), s.in_shape(i), s.in_dtype(i));
  }
  int sign_;
};

class Mul final : public Op {
 public:
  std::string_view name() const override { return "mul"; }
  Tensors forward(const Tensors& in) const override { return {in[0] * in[1]}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const at::Tensor g = to_acc(dout[0]);
    at::Tensor da, db;
    if (s.needs_grad(0)) da = sum_to(g * to_acc(s.in(1)), s.in_shape(0), s.in_dtype(0));
    if (s.needs_grad(1)) db = sum_to(g * to_acc(s.in(0)), s.in_shape(1), s.in_dtype(1));
    return {da, db};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override { return {t[0] * s.in(1) + s.in(0) * t[1]}; }
};

class Div final : public Op {
 public:
  std::string_view name() const override { return "div"; }
  bool saves_output(size_t) const override { return true; }
  Tensors forward(const Tensors& in) const override { return {in[0] / in[1]}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const at::Tensor g = to_acc(dout[0]) / to_acc(s.in(1));
    at::Tensor da, db;
    if (s.needs_grad(0)) da = sum_to(g, s.in_shape(0), s.in_dtype(0));
    if (s.needs_grad(1)) db = sum_to(g * to_acc(s.out(0)).neg(), s.in_shape(1), s.in_dtype(1));
    return {da, db};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    return {(t[0] - s.out(0) * t[1]) / s.in(1)};
  }
};

class Scale final : public Op {
 public:
  explicit Scale(double factor) : factor_(factor) {}
  std::string_view name() const override { return "scale"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0] * factor_}; }
  Tensors backward(const Saved&, const Tensors& dout) const override { return {dout[0] * factor_}; }
  Tensors jvp(const Saved&, const Tensors& t) const override { return {t[0] * factor_}; }

 private:
  double factor_;
};

class Cast final : public Op {
 public:
  explicit Cast(at::ScalarType type) : type_(type) {}
  std::string_view name() const override { return "cast"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0].to(type_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override { return {dout[0].to(s.in_dtype(0))}; }
  Tensors jvp(const Saved&, const Tensors& t) const override { return {t[0].to(type_)}; }

 private:
  at::ScalarType type_;
};

class Blend final : public Op {
 public:
  explicit Blend(at::Tensor mask) : mask_(std::move(mask)) {}
  std::string_view name() const override { return "blend"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0] * mask_ + in[1] * (1 - mask_)}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    at::Tensor da, db;
    if (s.needs_grad(0)) da = dout[0] * mask_;
    if (s.needs_grad(1)) db = dout[0] * (1 - mask_);
    return {da, db};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }

 private:
  at::Tensor mask_;
};

void require_same_dtype(std::string_view op, const Variable& a, const Variable& b) {
  require(a.dtype() == b.dtype(), op, ": operands are ", a.dtype(), " and ", b.dtype(), ": cast one of them");
}

}  // namespace

Variable ops::add(const Variable& a, const Variable& b) {
  require_same_dtype("add", a, b);
  return apply_op(std::make_shared<Add>(1), {a, b})[0];
}
Variable ops::sub(const Variable& a, const Variable& b) {
  require_same_dtype("sub", a, b);
  return apply_op(std::make_shared<Add>(-1), {a, b})[0];
}
Variable ops::mul(const Variable& a, const Variable& b) {
  require_same_dtype("mul", a, b);
  return apply_op(std::make_shared<Mul>(), {a, b})[0];
}
Variable ops::div(const Variable& a, const Variable& b) {
  require_same_dtype("div", a, b);
  return apply_op(std::make_shared<Div>(), {a, b})[0];
}
Variable ops::scale(const Variable& a, double factor) {
  return apply_op(std::make_shared<Scale>(factor), {a})[0];
}

Variable ops::cast(const Variable& x, at::ScalarType type) {
  return x.dtype() == type ? x : apply_op(std::make_shared<Cast>(type), {x})[0];
}

Variable ops::blend(const Variable& a, const Variable& b, const at::Tensor& mask) {
  require_same_dtype("blend", a, b);
  require(a.shape() == b.shape(), "blend: ", at::IntArrayRef(a.shape()), " and ", at::IntArrayRef(b.shape()));
  return apply_op(std::make_shared<Blend>(mask.to(a.dtype())), {a, b})[0];
}

}  // namespace orrery
