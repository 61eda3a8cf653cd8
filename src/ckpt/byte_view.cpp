#include "ckpt/byte_view.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "base/error.h"

namespace orrery {
namespace {

constexpr size_t kMaxDims = 64;  // ATen's limit for most operators

bool is_empty(const std::vector<int64_t>& shape) {
  return std::find(shape.begin(), shape.end(), 0) != shape.end();
}

}  // namespace

std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

int64_t checked_extent(const std::vector<int64_t>& shape) {
  require(shape.size() <= kMaxDims, "the shape is too long: ", shape.size(), " dimensions, at most ",
          kMaxDims);
  int64_t extent = 1;
  for (const int64_t size : shape) {
    require(size >= 0, "negative size ", size);
    require(!__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent),
            "the number of elements overflows 64 bits");
  }
  return extent;
}

void check_layout(const TensorLayout& layout, uint64_t bytes) {
  const int64_t element = static_cast<int64_t>(c10::elementSize(layout.dtype));
  int64_t last = layout.offset, extent_bytes = 0;
  require(!__builtin_mul_overflow(checked_extent(layout.shape), element, &extent_bytes),
          "the number of bytes overflows 64 bits");
  require(layout.strides.size() == layout.shape.size(), layout.strides.size(), " strides for ",
          layout.shape.size(), " dimensions");
  require(layout.offset >= 0, "negative storage offset ", layout.offset);
  for (size_t i = 0; i < layout.shape.size(); ++i) {
    int64_t reach = 0;
    require(layout.strides[i] >= 0, "negative stride ", layout.strides[i]);
    require(!__builtin_mul_overflow(std::max<int64_t>(layout.shape[i], 1) - 1, layout.strides[i], &reach) &&
                !__builtin_add_overflow(last, reach, &last),
            "size x stride overflows 64 bits");
  }
  if (is_empty(layout.shape)) return;
  const int64_t held = static_cast<int64_t>(bytes / static_cast<uint64_t>(element));
  require(last < held, "the tensor reaches element ", last, " of a storage of ", held);
}

namespace {

// The bytes that the layout's elements lie in; not empty.
ByteView touched_bytes(const ByteView& storage, const TensorLayout& layout) {
  const uint64_t element = c10::elementSize(layout.dtype);
  uint64_t elements = 1;
  for (size_t i = 0; i < layout.shape.size(); ++i)
    elements += static_cast<uint64_t>(layout.shape[i] - 1) * static_cast<uint64_t>(layout.strides[i]);
  return storage.part(static_cast<uint64_t>(layout.offset) * element, elements * element);
}

ByteView aligned_copy(std::string_view bytes) {
  using Unit = std::max_align_t;
  const auto copy = std::make_shared<std::vector<Unit>>((bytes.size() + sizeof(Unit) - 1) / sizeof(Unit));
  char* const data = reinterpret_cast<char*>(copy->data());
  std::copy(bytes.begin(), bytes.end(), data);
  return {{data, bytes.size()}, copy};
}

}  // namespace

at::Tensor tensor_of(const ByteView& storage, const TensorLayout& layout) {
  const at::TensorOptions options(layout.dtype);
  if (is_empty(layout.shape)) return at::empty(layout.shape, options);
  ByteView held = touched_bytes(storage, layout);
  if (reinterpret_cast<uintptr_t>(held.bytes.data()) % c10::elementSize(layout.dtype) != 0)
    held = aligned_copy(held.bytes);
  if (layout.dtype == at::kBool)
    require(std::all_of(held.bytes.begin(), held.bytes.end(), [](char c) { return c == 0 || c == 1; }),
            "a BOOL is neither 0 nor 1");
  return at::from_blob(
      const_cast<char*>(held.bytes.data()), layout.shape, layout.strides, [keep = held.owner](void*) {},
      options);
}

}  // namespace orrery
