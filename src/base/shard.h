#pragma once
// ShardView: the rows of a named tensor that one rank holds. Sharded training makes them, checkpoints read
// and write them.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <string>
#include <vector>

namespace orrery {

struct ShardView {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin = 0;           // first row (dimension 0) held here
  at::Tensor local;            // (rows, shape[1:]...); rows may be 0
};

// The rows of a whole tensor into the shard, converted to its dtype.
inline void copy_rows(const at::Tensor& whole, const ShardView& shard) {
  at::Tensor target = shard.local;
  target.copy_(shard.shape.empty() ? whole : whole.narrow(0, shard.begin, target.size(0)));
}

struct RowRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Rows of dimension 0 that rank `rank` of `size` holds: ceil(rows / size) each, so that the last ranks may
// have fewer or none (torch.chunk).
inline RowRange shard_rows(int64_t rows, int rank, int size) {
  const int64_t chunk = (rows + size - 1) / size;
  return {std::min(rows, chunk * rank), std::min(rows, chunk * (rank + 1))};
}

}  // namespace orrery
