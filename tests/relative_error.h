#pragma once
#include <ATen/core/Tensor.h>

namespace orrery::test {

// Of the L2 norm, in float64 on the CPU.
inline double relative_error(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor wanted = want.cpu().to(at::kDouble), difference = got.cpu().to(at::kDouble) - wanted;
  return difference.norm().item<double>() / wanted.norm().item<double>();
}

}  // namespace orrery::test
