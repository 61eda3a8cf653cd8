#pragma once
// How two sets of weights differ. Used by `orrery ckpt diff`.
#include <string>
#include <vector>

#include "ckpt/weight_file.h"

namespace orrery {

struct TensorDiff {
  std::string name;
  int64_t differing = 0, elements = 0;  // elements whose bits differ (all, where the dtypes do)
  double relative_l2 = 0;   // |b - a| / |a|, in double; infinite where a is zero or something is not finite
  double max_abs = 0;       // largest |b - a|; infinite where something is not finite
  std::string remark = {};  // "BF16 against F32", ...
};

struct WeightDiff {
  std::vector<std::string> only_in_a, only_in_b;
  std::vector<std::string> other_shape;  // "NAME [2, 3] against [3, 2]"
  std::vector<TensorDiff> tensors;       // those that are not bit-equal, worst relative_l2 first
  int64_t equal = 0;                     // tensors that are
  bool same() const {
    return only_in_a.empty() && only_in_b.empty() && other_shape.empty() && tensors.empty();
  }
};

// Reads both, a part of a tensor at a time.
WeightDiff diff_weights(const WeightFile& a, const WeightFile& b);

}  // namespace orrery
