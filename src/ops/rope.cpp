#include "ops/rope.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

class RopeOp final : public Op {
 public:
  RopeOp(at::Tensor cos, at::Tensor sin) : cos_(std::move(cos)), sin_(std::move(sin)) {}
  std::string_view name() const override { return "rope"; }
  bool saves_input(size_t) const override { return false; }

  Tensors forward(const Tensors& in) const override { return {rotated(in[0])}; }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    const auto run = dout[0].is_cuda() ? kernels::cuda::rope_inverse : kernels::cpu::rope_inverse;
    return {run(dout[0], cos_, sin_)};  // a rotation's transpose is its inverse
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return {rotated(t[0])}; }

 private:
  at::Tensor rotated(const at::Tensor& x) const {
    return (x.is_cuda() ? kernels::cuda::rope : kernels::cpu::rope)(x, cos_, sin_);
  }
  at::Tensor cos_, sin_;
};

}  // namespace

Variable ops::rope(const Variable& x, const at::Tensor& cos, const at::Tensor& sin) {
  const Shape want = {x.size(1), x.size(3) / 2};
  require(x.dim() == 4 && x.size(3) % 2 == 0 && cos.sizes() == at::IntArrayRef(want) &&
              sin.sizes() == cos.sizes(),
          "rope: tables ", cos.sizes(), " and ", sin.sizes(), " for x ", at::IntArrayRef(x.shape()),
          ", wanted ", at::IntArrayRef(want));
  return apply_op(std::make_shared<RopeOp>(cos, sin), {x})[0];
}

}  // namespace orrery
