#include "ckpt/weight_diff.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "ckpt/row_parts.h"

namespace orrery {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

int64_t differing_elements(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type()) return a.numel();
  const size_t size = a.element_size();
  if (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0) return 0;
  const auto *left = static_cast<const char*>(a.const_data_ptr()),
             *right = static_cast<const char*>(b.const_data_ptr());
  int64_t count = 0;
  for (int64_t i = 0; i < a.numel(); ++i, left += size, right += size)
    count += std::memcmp(left, right, size) != 0;
  return count;
}

struct Sums {
  double error = 0, norm = 0, max_abs = 0;
  void add(const at::Tensor& a, const at::Tensor& b) {
    const auto type = a.is_complex() || b.is_complex() ? at::kComplexDouble : at::kDouble;
    const at::Tensor left = a.to(type).contiguous(), right = b.to(type).contiguous();
    const int64_t numbers = a.numel() * (type == at::kComplexDouble ? 2 : 1);
    const auto *x = static_cast<const double*>(left.const_data_ptr()),
               *y = static_cast<const double*>(right.const_data_ptr());
    for (int64_t i = 0; i < numbers; ++i) {
      const double d = y[i] - x[i];
      error += d * d;
      norm += x[i] * x[i];
      max_abs = std::isfinite(d) ? std::max(max_abs, std::abs(d)) : kInfinity;
    }
  }
  double relative() const {
    if (!std::isfinite(error) || !std::isfinite(norm)) return kInfinity;
    return error == 0 ? 0 : std::sqrt(error / norm);
  }
};

std::string dtype_text(const WeightEntry& entry) {
  return entry.dtype ? c10::toString(*entry.dtype) : "an unreadable dtype";
}

TensorDiff diff_tensor(const std::string& name, const WeightFile& a, const WeightFile& b) {
  const std::vector<int64_t>& shape = a.entry(name).shape;
  TensorDiff diff{.name = name};
  if (a.entry(name).dtype != b.entry(name).dtype)
    diff.remark = dtype_text(a.entry(name)) + " against " + dtype_text(b.entry(name));
  Sums sums;
  for (const RowRange rows : row_parts(shape, kPartElements)) {
    if (rows.size() == 0) continue;
    const at::Tensor left = a.rows(name, rows).contiguous(), right = b.rows(name, rows).contiguous();
    const int64_t differing = differing_elements(left, right);
    diff.elements += left.numel();
    diff.differing += differing;
    sums.add(left, right);
    a.release_pages();
    b.release_pages();
  }
  diff.relative_l2 = sums.relative();
  diff.max_abs = sums.max_abs;
  return diff;
}

}  // namespace

WeightDiff diff_weights(const WeightFile& a, const WeightFile& b) {
  WeightDiff diff;
  for (const auto& [name, entry] : b.entries())
    if (!a.contains(name)) diff.only_in_b.push_back(name);
  for (const auto& [name, entry] : a.entries()) {
    if (!b.contains(name)) {
      diff.only_in_a.push_back(name);
    } else if (const auto& other = b.entry(name).shape; other != entry.shape) {
      diff.other_shape.push_back(
          text_of(name, " ", at::IntArrayRef(entry.shape), " against ", at::IntArrayRef(other)));
    } else {
      TensorDiff tensor = diff_tensor(name, a, b);
      if (tensor.differing == 0 && tensor.remark.empty())
        ++diff.equal;
      else
        diff.tensors.push_back(std::move(tensor));
    }
  }
  std::stable_sort(diff.tensors.begin(), diff.tensors.end(),
                   [](const TensorDiff& x, const TensorDiff& y) { return x.relative_l2 > y.relative_l2; });
  return diff;
}

}  // namespace orrery
