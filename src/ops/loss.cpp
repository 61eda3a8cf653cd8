#include "ops/loss.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class SquaredError final : public Op {
 public:
  std::string_view name() const override { return "squared_error"; }
  Tensors forward(const Tensors& in) const override {
    return {(to_acc(in[0]) - to_acc(in[1])).square_().flatten(1).mean(1)};
  }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    const at::Tensor dp = difference(s) * per_sample(s, dout[0]);
    at::Tensor dprediction, dtarget;
    if (s.needs_grad(0)) dprediction = dp.to(s.in_dtype(0));
    if (s.needs_grad(1)) dtarget = dp.neg().to(s.in_dtype(1));
    return {dprediction, dtarget};
  }
  Tensors jvp(const Saved& s, const Tensors& t) const override {
    return {(difference(s) * (to_acc(t[0]) - to_acc(t[1]))).flatten(1).mean(1) * 2};
  }

 private:
  static at::Tensor difference(const Saved& s) { return to_acc(s.in(0)) - to_acc(s.in(1)); }
  // 2 dout_b / (elements of a sample), shaped to broadcast over the sample
  static at::Tensor per_sample(const Saved& s, const at::Tensor& dout) {
    const Shape& shape = s.in_shape(0);
    Shape view(shape.size(), 1);
    view[0] = shape[0];
    const double elements =
        static_cast<double>(c10::multiply_integers(shape)) / static_cast<double>(shape[0]);
    return (dout * (2 / elements)).view(view);
  }
};

}  // namespace

Variable ops::squared_error(const Variable& prediction, const Variable& target) {
  require(prediction.shape() == target.shape() && prediction.dim() >= 2, "squared_error: prediction ",
          at::IntArrayRef(prediction.shape()), ", target ", at::IntArrayRef(target.shape()));
  require(prediction.dtype() == target.dtype(), "squared_error: prediction is ", prediction.dtype(),
          ", target ", target.dtype());
  return apply_op(std::make_shared<SquaredError>(), {prediction, target})[0];
}

}  // namespace orrery
