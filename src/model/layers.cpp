#include "model/layers.h"

#include <cmath>

#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/norm.h"

namespace orrery {

Init fan_in(int64_t in) {
  return Init::truncated_normal(1 / std::sqrt(static_cast<double>(in)));
}

Linear::Linear(Module* parent, std::string name, int64_t in, int64_t out, Init init, bool has_bias)
    : Module(parent, std::move(name)), weight(this, "weight", {out, in}, init) {
  if (has_bias) bias = std::make_unique<Parameter>(this, "bias", Shape{out}, Init::zeros());
}

Variable Linear::operator()(const Variable& x) const {
  const Scope scope(*this);
  return ops::linear(x, ops::cast(weight, x.dtype()), bias ? ops::cast(*bias, x.dtype()) : Variable());
}

RmsNorm::RmsNorm(Module* parent, std::string name, int64_t dim)
    : Module(parent, std::move(name)), weight(this, "weight", {dim}, Init::ones()) {}

Variable RmsNorm::operator()(const Variable& x) const {
  const Scope scope(*this);
  return ops::rms_norm(x, weight, kEps);
}

Mlp::Mlp(Module* parent, std::string name, int64_t dim, int64_t hidden)
    : Module(parent, std::move(name)),
      layer1(this, "layer1", dim, hidden, fan_in(dim)),
      layer2(this, "layer2", hidden, dim, fan_in(hidden)) {}

Variable Mlp::operator()(const Variable& x) const {
  const Scope scope(*this);
  return layer2(ops::gelu(layer1(x)));
}

}  // namespace orrery
