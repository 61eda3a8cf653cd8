#pragma once
// Tensors taken in parts, so that none needs to be in memory whole.
#include <c10/util/accumulate.h>

#include <algorithm>
#include <vector>

#include "base/shard.h"

namespace orrery {

inline constexpr int64_t kPartElements = int64_t{1} << 20;  // a few MiB, which stay in a processor's cache

// Elements of a row of dimension 0; 1 for scalars.
inline int64_t row_elements(const std::vector<int64_t>& shape) {
  return shape.empty() ? 1 : c10::multiply_integers(shape.begin() + 1, shape.end());
}

// The rows in order, at most so many elements at a time but at least one row; one part if there are no
// elements, however many rows.
inline std::vector<RowRange> row_parts(const std::vector<int64_t>& shape, int64_t elements) {
  const int64_t rows = shape.empty() ? 1 : shape[0], row = row_elements(shape);
  if (rows == 0 || row == 0) return {{0, rows}};
  const int64_t step = std::max<int64_t>(1, elements / row);
  std::vector<RowRange> parts;
  for (int64_t begin = 0; begin < rows; begin = parts.back().end)
    parts.push_back({begin, begin + std::min(step, rows - begin)});
  return parts;
}

}  // namespace orrery
