#pragma once
// What launch*.cpp share to take tensors apart.
#include <ATen/core/Tensor.h>

#include <optional>

#include "optim/cuda/entry.h"

namespace orrery::kernels::cuda {

// None for types that have no kernels.
inline std::optional<GradType> type_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return GradType::float32;
    case at::kBFloat16:
      return GradType::bfloat16;
    case at::kHalf:
      return GradType::float16;
    default:
      return std::nullopt;
  }
}

inline bool is_aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

}  // namespace orrery::kernels::cuda
