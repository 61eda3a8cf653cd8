#include "ops/conv3d.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

// Sizes of the result in time, rows and columns; not positive where the kernel does not fit.
std::array<int64_t, 3> result_sizes(const std::vector<Shape>& in, const ConvGeometry& g) {
  std::array<int64_t, 3> out{};
  for (size_t i = 0; i < 3; ++i) {
    const int64_t before = i == 0 && !in[1].empty() ? in[1][2] : 0;
    const int64_t length = g.pad_before[i] + before + in[0][i + 2] + g.pad_after[i] - in[2][i + 2];
    out[i] = length < 0 ? 0 : length / g.stride[i] + 1;
  }
  return out;
}

class Conv3d final : public Op {
 public:
  explicit Conv3d(const ConvGeometry& geometry) : geometry_(geometry) {}
  std::string_view name() const override { return "conv3d"; }
  bool saves_input(size_t i) const override { return i < 3; }
  bool takes_undefined() const override { return true; }

  Tensors forward(const Tensors& in) const override {
    if (in[0].is_cuda()) return {kernels::cuda::conv3d(in[0], in[1], in[2], in[3], {}, geometry_)};
    return {kernels::cpu::conv3d(in[0], in[1], in[2], in[3], geometry_)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const bool has_history = !s.in_shape(1).empty();
    auto [dx, dhistory, dweight, dbias] =
        kernels::cpu::conv3d_backward(dout[0],
                                      {.x = s.in(0),
                                       .history = has_history ? s.in(1) : at::Tensor(),
                                       .weight = s.in(2),
                                       .wants_dx = s.needs_grad(0) || s.needs_grad(1),
                                       .wants_dweight = s.needs_grad(2),
                                       .wants_dbias = s.needs_grad(3)},
                                      geometry_);
    return {dx, dhistory, dweight, dbias};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    const at::Tensor history = s.in_shape(1).empty() ? at::Tensor() : s.in(1);
    const auto run = [this](const at::Tensor& x, const at::Tensor& before, const at::Tensor& weight) {
      return kernels::cpu::conv3d(x, before, weight, {}, geometry_);
    };
    const auto or_zeros = [](const at::Tensor& tangent, const at::Tensor& value) {
      return tangent.defined() || !value.defined() ? tangent : at::zeros_like(value);
    };
    at::Tensor out;
    const auto add = [&out](const at::Tensor& term) { out = out.defined() ? out + term : term; };
    if (t[0].defined() || t[1].defined()) add(run(or_zeros(t[0], s.in(0)), or_zeros(t[1], history), s.in(2)));
    if (t[2].defined()) add(run(s.in(0), history, t[2]));
    if (t[3].defined()) {
      const auto [frames, rows, columns] = result_sizes(shapes_of(s), geometry_);
      add(t[3].view({1, -1, 1, 1, 1}).expand({s.in_shape(0)[0], t[3].size(0), frames, rows, columns}));
    }
    return {out};
  }

  Engine engine() const override { return Engine::matmul; }
  double forward_flops(const std::vector<Shape>& shapes) const override {
    const auto [frames, rows, columns] = result_sizes(shapes, geometry_);
    return 2.0 * static_cast<double>(c10::multiply_integers(shapes[2])) *
           static_cast<double>(shapes[0][0] * frames * rows * columns);
  }
  double backward_flops(const std::vector<Shape>& shapes,
                        const std::vector<bool>& needs_grad) const override {
    return forward_flops(shapes) * ((needs_grad[0] || needs_grad[1]) + needs_grad[2]);
  }

 private:
  static std::vector<Shape> shapes_of(const Saved& s) {
    return {s.in_shape(0), s.in_shape(1), s.in_shape(2)};
  }
  ConvGeometry geometry_;
};

// On GPUs, and in plans of them, of films that pass for good: no derivatives.
class Conv3dAdd final : public Op {
 public:
  explicit Conv3dAdd(const ConvGeometry& geometry) : geometry_(geometry) {}
  std::string_view name() const override { return "conv3d_add"; }
  bool takes_undefined() const override { return true; }
  Tensors forward(const Tensors& in) const override {
    if (in[0].is_cuda()) return {kernels::cuda::conv3d(in[0], {}, in[1], in[2], in[3], geometry_)};
    return {kernels::cpu::conv3d(in[0], {}, in[1], in[2], geometry_) + in[3]};
  }
  Tensors backward(const Saved&, const Tensors&) const override { fail("conv3d_add: it has no derivative"); }
  Tensors jvp(const Saved&, const Tensors&) const override { fail("conv3d_add: it has no derivative"); }

  Engine engine() const override { return Engine::matmul; }
  double forward_flops(const std::vector<Shape>& shapes) const override {
    return Conv3d(geometry_).forward_flops({shapes[0], {}, shapes[1]});
  }

 private:
  ConvGeometry geometry_;
};

void check(const Variable& x, const Variable& history, const Variable& weight, const Variable& bias,
           const ConvGeometry& geometry) {
  require(x.dim() == 5 && weight.dim() == 5 && x.size(1) == weight.size(1), "conv3d: weight ",
          at::IntArrayRef(weight.shape()), " for x ", at::IntArrayRef(x.shape()));
  require(c10::multiply_integers(weight.shape()) > 0, "conv3d: weight ", at::IntArrayRef(weight.shape()),
          " is empty");
  require(!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0)),
          "conv3d: bias of another size than the ", weight.size(0), " outputs");
  require(x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()), "conv3d: x is ",
          x.dtype(), ", weight ", weight.dtype());
  Shape before;
  if (history.defined()) {
    before = history.shape();
    Shape wanted = x.shape();
    if (before.size() == 5) wanted[2] = before[2];
    require(before == wanted && history.dtype() == x.dtype(), "conv3d: history ", at::IntArrayRef(before),
            " ", history.dtype(), " for x ", at::IntArrayRef(x.shape()), " ", x.dtype());
  }
  const auto out = result_sizes({x.shape(), before, weight.shape()}, geometry);
  require(out[0] > 0 && out[1] > 0 && out[2] > 0, "conv3d: kernel ", at::IntArrayRef(weight.shape()),
          " is larger than x ", at::IntArrayRef(x.shape()), " with its zeros and history");
}

}  // namespace

Variable ops::conv3d(const Variable& x, const Variable& history, const Variable& weight, const Variable& bias,
                     const ConvGeometry& geometry) {
  check(x, history, weight, bias, geometry);
  return apply_op(std::make_shared<Conv3d>(geometry), {x, history, weight, bias})[0];
}

Variable ops::conv3d_add(const Variable& x, const Variable& weight, const Variable& bias,
                         const Variable& residual, const ConvGeometry& geometry) {
  if (!has_no_derivative({x, weight, bias, residual}) || x.value().is_cpu())
    return add(conv3d(x, Variable(), weight, bias, geometry), residual);
  check(x, Variable(), weight, bias, geometry);
  const auto [frames, rows, columns] = result_sizes({x.shape(), {}, weight.shape()}, geometry);
  const Shape wanted{x.size(0), weight.size(0), frames, rows, columns};
  require(residual.shape() == wanted && residual.dtype() == x.dtype(), "conv3d: residual ",
          at::IntArrayRef(residual.shape()), " ", residual.dtype(), " for a result ", at::IntArrayRef(wanted),
          " ", x.dtype());
  return apply_op(std::make_shared<Conv3dAdd>(geometry), {x, weight, bias, residual})[0];
}

}  // namespace orrery
