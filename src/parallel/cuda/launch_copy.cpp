// Fills the tables of the copy kernel, and sends what it does not take to ATen.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cassert>
#include <optional>

#include "parallel/cuda/copy_entry.h"
#include "parallel/kernels.h"

namespace orrery::kernels::cuda {
namespace {

std::optional<CopyType> type_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return CopyType::float32;
    case at::kBFloat16:
      return CopyType::bfloat16;
    case at::kHalf:
      return CopyType::float16;
    default:
      return std::nullopt;
  }
}

// Rows of `width` neighbours, `stride` elements apart.
struct Layout {
  int64_t width, stride;
};
std::optional<Layout> layout_of(const at::Tensor& t) {
  if (t.is_contiguous()) return Layout{t.numel(), t.numel()};
  if (t.dim() == 2 && t.stride(1) == 1) return Layout{t.size(1), t.stride(0)};
  return std::nullopt;
}

bool begins_at_16_bytes(const at::Tensor& t, const Layout& layout) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0 &&
         (layout.width == t.numel() || layout.stride * t.element_size() % 16 == 0);
}

constexpr int64_t kMaxChunks = int64_t{1} << 29;  // of a pair; a grid holds four times as many blocks
int64_t chunks_of(int64_t width) {
  return (width + kCopyChunk - 1) / kCopyChunk;
}

struct Pair {
  Layout to, from;
  int64_t rows;
};
// None if the kernel does not take the pair.
std::optional<Pair> pair_of(const at::Tensor& to, const at::Tensor& from, bool adds) {
  auto a = layout_of(to), b = layout_of(from);
  if (!type_of(to) || !type_of(from) || !a || !b || (adds && to.scalar_type() != at::kFloat))
    return std::nullopt;
  // A contiguous tensor beside one of rows has those rows too.
  const int64_t width = std::min(a->width, b->width);
  if (a->width > width) *a = {width, width};
  if (b->width > width) *b = {width, width};
  if (to.numel() / width * chunks_of(width) > kMaxChunks) return std::nullopt;
  return Pair{*a, *b, to.numel() / width};
}

void append(CopyTable& table, const at::Tensor& to, const at::Tensor& from, const Pair& pair) {
  const int t = table.count++;
  table.to[t] = to.data_ptr();
  table.from[t] = from.const_data_ptr();
  table.to_stride[t] = pair.to.stride;
  table.from_stride[t] = pair.from.stride;
  table.width[t] = pair.to.width;
  table.aligned[t] = begins_at_16_bytes(to, pair.to) && begins_at_16_bytes(from, pair.from);
  table.chunks_per_row[t] = static_cast<unsigned>(chunks_of(pair.to.width));
  table.first_chunk[table.count] =
      table.first_chunk[t] + table.chunks_per_row[t] * static_cast<unsigned>(pair.rows);
}

// The pairs of one combination of types.
class Batch {
 public:
  Batch(CopyType to, CopyType from, bool adds) : to_(to), from_(from), adds_(adds) {}
  bool takes(CopyType to, CopyType from) const { return to == to_ && from == from_; }
  void add(const at::Tensor& to, const at::Tensor& from, const Pair& pair) {
    if (table_.count == kCopyPairs || table_.first_chunk[table_.count] >= kMaxChunks) flush();
    append(table_, to, from, pair);
  }
  void flush() {
    if (table_.count == 0) return;
    launch(table_, to_, from_, adds_, c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    table_.count = 0;
  }

 private:
  CopyType to_, from_;
  bool adds_;
  CopyTable table_{};
};

void combine(const TensorPairs& pairs, bool adds) {
  if (pairs.to.empty()) return;
  const c10::cuda::CUDAGuard device(pairs.to[0].device());
  std::vector<Batch> batches;
  for (size_t i = 0; i < pairs.to.size(); ++i) {
    const at::Tensor &to = pairs.to[i], &from = pairs.from[i];
    assert(to.sizes() == from.sizes() && to.device() == from.device());
    if (to.numel() == 0) continue;
    const auto pair = pair_of(to, from, adds);
    if (!pair) {
      adds ? to.add_(from) : to.copy_(from);
      continue;
    }
    const CopyType to_type = *type_of(to), from_type = *type_of(from);
    auto batch = std::find_if(batches.begin(), batches.end(),
                              [&](const Batch& b) { return b.takes(to_type, from_type); });
    if (batch == batches.end()) batch = batches.emplace(batches.end(), to_type, from_type, adds);
    batch->add(to, from, *pair);
  }
  for (Batch& batch : batches) batch.flush();
}

}  // namespace

void copy_each(const TensorPairs& pairs) {
  combine(pairs, false);
}
void add_each(const TensorPairs& pairs) {
  combine(pairs, true);
}

}  // namespace orrery::kernels::cuda
