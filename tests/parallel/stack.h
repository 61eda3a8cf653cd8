#pragma once
// A stack of linear layers to shard: rows that no number of ranks divides.
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "parallel/fsdp.h"

namespace orrery::test {

struct Layer final : Module {
  Layer(Module* parent, std::string name, int64_t in, int64_t out)
      : Module(parent, std::move(name)),
        weight(this, "weight", {out, in}, Init::normal(0.3)),
        bias(this, "bias", {out}, Init::normal(0.1)) {}
  Parameter weight, bias;
  Variable operator()(const Variable& x) const {
    const Scope scope(*this);
    return ops::linear(x, weight, bias);
  }
};

struct Stack final : Module {
  Layer first{this, "first", 6, 7}, second{this, "second", 7, 1}, third{this, "third", 1, 5};
  Parameter scale{this, "scale", {5, 5}, Init::normal(0.5)};

  Variable operator()(const at::Tensor& x) const {
    const Scope scope(*this);
    const Variable y = third(second(first(Variable(x))));
    return ops::mean(ops::linear(y, scale, {}));
  }
};

inline void attach_all(Fsdp& fsdp, Stack& stack, bool reshard = true) {
  fsdp.attach(stack.first, reshard);
  fsdp.attach(stack.second, reshard);
  fsdp.attach(stack.third, false);
  fsdp.attach(stack, false);
  fsdp.require_complete(stack);
}

}  // namespace orrery::test
