#pragma once
// A tensor with the name it has in checkpoints. Copies share the storage.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace orrery {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace orrery
