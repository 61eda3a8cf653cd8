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

// The parts of row_parts, made as they are asked for: there may be 2^60.
class RowParts {
 public:
  class Iterator {
   public:
    Iterator(const RowParts& parts, int64_t at) : parts_(parts), at_(at) {}
    RowRange operator*() const { return parts_[at_]; }
    Iterator& operator++() { return ++at_, *this; }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    const RowParts& parts_;
    int64_t at_;
  };

  RowParts(int64_t rows, int64_t step) : rows_(rows), step_(step) {}
  int64_t size() const { return rows_ == 0 ? 1 : (rows_ - 1) / step_ + 1; }
  RowRange operator[](int64_t i) const {
    const int64_t begin = i * step_;
    return {begin, begin + std::min(step_, rows_ - begin)};
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  int64_t rows_, step_;
};

// The rows in order, at most so many elements at a time but at least one row; one part if there are no
// elements, however many rows.
inline RowParts row_parts(const std::vector<int64_t>& shape, int64_t elements) {
  const int64_t rows = shape.empty() ? 1 : shape[0], row = row_elements(shape);
  return {rows, row == 0 ? std::max<int64_t>(1, rows) : std::max<int64_t>(1, elements / row)};
}

}  // namespace orrery
