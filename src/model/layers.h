#pragma once
// Layers that several networks share. Member names are checkpoint keys.
#include "autograd/module.h"
#include "autograd/scope.h"

namespace orrery {

// Truncated normal of std 1/sqrt(in): the reference's initialisation of every projection.
Init fan_in(int64_t in);

// x W^T (+ b), computed in x's type: a bf16 weight under float32 activations is upcast, as in the reference's
// autocast regions, and its gradient is rounded back.
struct Linear final : Module {
  Linear(Module* parent, std::string name, int64_t in, int64_t out, Init init, bool has_bias = false);
  Parameter weight;                 // (out, in)
  std::unique_ptr<Parameter> bias;  // (out), or null
  Variable operator()(const Variable& x) const;
};

// rms_norm over the last dim.
struct RmsNorm final : Module {
  RmsNorm(Module* parent, std::string name, int64_t dim);
  static constexpr double kEps = 1e-6;
  Parameter weight;  // (dim)
  Variable operator()(const Variable& x) const;
};

// GELU MLP without biases.
struct Mlp final : Module {
  Mlp(Module* parent, std::string name, int64_t dim, int64_t hidden);
  Linear layer1, layer2;
  Variable operator()(const Variable& x) const;
};

}  // namespace orrery
