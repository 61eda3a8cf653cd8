#include "ops/reduce.h"

#include "autograd/tape.h"
#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

class Sum final : public Op {
 public:
  std::string_view name() const override { return "sum"; }
  bool saves_input(size_t) const override { return false; }
  Tensors forward(const Tensors& in) const override { return {in[0].sum(acc_type(in[0].scalar_type()))}; }
  Tensors backward(const Saved& s, const Tensors& dout) const override {
    return {dout[0].to(s.in_dtype(0)).expand(s.in_shape(0))};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return forward(t); }
};

}  // namespace

Variable ops::sum(const Variable& x) {
  return apply_op(std::make_shared<Sum>(), {x})[0];
}

Variable ops::mean(const Variable& x) {
  const int64_t count = c10::multiply_integers(x.shape());
  require(count > 0, "mean: of no elements");
  return ops::scale(ops::sum(x), 1 / static_cast<double>(count));
}

}  // namespace orrery
