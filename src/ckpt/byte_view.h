#pragma once
// ByteView: bytes of a mapped file or of a buffer with a handle that keeps them alive, and tensors made of
// them. The readers of safetensors and PyTorch files build on it.
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>

namespace orrery {

struct ByteView {
  std::string_view bytes;
  std::shared_ptr<const void> owner;

  // Without a check of the limits.
  ByteView part(uint64_t begin, uint64_t size) const { return {bytes.substr(begin, size), owner}; }
};

// What a tensor is made of: its elements, in units of elements.
struct TensorLayout {
  at::ScalarType dtype;
  std::vector<int64_t> shape, strides;  // none negative
  int64_t offset = 0;
};

// The strides of a tensor whose last dimension lies closest in memory.
std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape);

// Number of elements; zeros count as one, so that the strides do not overflow either. Throws Error for
// negative sizes, more than 64 dimensions, and overflow.
int64_t checked_extent(const std::vector<int64_t>& shape);

// Throws Error, with what is wrong, unless every element of the layout lies inside so many bytes and nothing
// overflows.
void check_layout(const TensorLayout& layout, uint64_t bytes);

// A tensor on the CPU that looks into the bytes, which it keeps alive; a copy where they lie unaligned. The
// layout has been checked. Throws Error for a BOOL that is neither 0 nor 1: that would be undefined behaviour
// in C++.
at::Tensor tensor_of(const ByteView& storage, const TensorLayout& layout);

}  // namespace orrery
