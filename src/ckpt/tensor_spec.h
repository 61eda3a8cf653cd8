#pragma once
// What the writers of weight files are told of a tensor before its data.
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

struct TensorSpec {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
};

}  // namespace orrery
