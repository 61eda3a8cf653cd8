#include "ops/activation.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/threshold_backward.h>

#include "autograd/tape.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

class Gelu final : public Op {
 public:
  std::string_view name() const override { return "gelu"; }
  Tensors forward(const Tensors& in) const override {
    return {in[0].is_cuda() ? kernels::cuda::gelu(in[0]) : at::gelu(in[0])};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override { return {times(dout[0], s.in(0))}; }
  Tensors jvp(const Saved& s, const Tensors& t) const override { return {times(t[0], s.in(0))}; }

 private:
  static at::Tensor times(const at::Tensor& v, const at::Tensor& x) {  // the derivative at x
    return x.is_cuda() ? kernels::cuda::gelu_backward(v, x) : at::gelu_backward(v, x);
  }
};

class Silu final : public Op {
 public:
  std::string_view name() const override { return "silu"; }
  Tensors forward(const Tensors& in) const override { return {at::silu(in[0])}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {at::silu_backward(dout[0], s.in(0))};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override { return {at::silu_backward(t[0], s.in(0))}; }
};

class Relu final : public Op {
 public:
  std::string_view name() const override { return "relu"; }
  Tensors forward(const Tensors& in) const override {
    return {in[0].is_meta() ? at::empty_like(in[0]) : at::relu(in[0])};  // ATen has it not for meta tensors
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {at::threshold_backward(dout[0], s.in(0), 0)};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    return {at::threshold_backward(t[0], s.in(0), 0)};
  }
};

}  // namespace

Variable ops::gelu(const Variable& x) {
  return apply_op(std::make_shared<Gelu>(), {x})[0];
}
Variable ops::silu(const Variable& x) {
  return apply_op(std::make_shared<Silu>(), {x})[0];
}
Variable ops::relu(const Variable& x) {
  return apply_op(std::make_shared<Relu>(), {x})[0];
}

}  // namespace orrery
