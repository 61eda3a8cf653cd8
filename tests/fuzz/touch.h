#pragma once
// Reads the first and last element of a tensor in instrumented code, so that one outside its buffer is found:
// LibTorch itself is not instrumented.
#include <ATen/core/Tensor.h>

namespace orrery::fuzz {

inline void touch(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return;
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  const auto* const data = static_cast<const volatile char*>(tensor.const_data_ptr());
  const int64_t size = static_cast<int64_t>(tensor.element_size());
  static_cast<void>(data[0]);
  static_cast<void>(data[last * size + size - 1]);
}

}  // namespace orrery::fuzz
