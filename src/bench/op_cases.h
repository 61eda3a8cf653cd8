#pragma once
// The operations of the network with the sizes of their inputs in a step. Behind op_bench.h.
#include <functional>

#include "autograd/variable.h"
#include "base/config.h"

namespace orrery {

struct OpCase {
  struct Input {
    Shape shape;
    at::ScalarType dtype;
    bool needs_grad = true;
  };
  std::string name;
  std::vector<Input> inputs;
  std::function<Variable(const Variables&)> call;
};

std::vector<OpCase> op_cases(const Config& config);

}  // namespace orrery
