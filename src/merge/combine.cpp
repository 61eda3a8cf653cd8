#include "merge/combine.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <cassert>
#include <cmath>
#include <numeric>

#include "base/parallel_for.h"

namespace orrery {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements a thread takes at least

double sign_of(double value) {
  return value > 0 ? 1 : value < 0 ? -1 : 0;
}

// Weighted changes of one element.
double elected(const std::vector<const double*>& changes, int64_t i, const MergeConfig& c) {
  double vote = 0;
  for (const double* const change : changes)
    vote += c.consensus == Consensus::sum ? change[i] : sign_of(change[i]);
  const double sign = vote >= 0 ? 1 : -1;
  double sum = 0, weight = 0;
  for (size_t k = 0; k < changes.size(); ++k) {
    if (sign_of(changes[k][i]) != sign) continue;
    sum += changes[k][i];
    weight += c.weights[k];
  }
  return c.normalize == Normalize::yes && weight != 0 ? sum / weight : sum;
}

at::Tensor plain_sum(const std::vector<at::Tensor>& changes, const MergeConfig& c) {
  at::Tensor sum = at::zeros_like(changes.front());
  for (const at::Tensor& change : changes) sum.add_(change);
  const double weight = std::accumulate(c.weights.begin(), c.weights.end(), 0.0);
  constexpr double kNoWeight = 1e-8;  // mergekit's bound
  return c.normalize == Normalize::yes && std::abs(weight) >= kNoWeight ? sum.div_(weight) : sum;
}

}  // namespace

void drop(at::Tensor& change, const at::Tensor& uniforms, double density, bool rescale) {
  assert(uniforms.numel() == change.numel());
  double* const data = change.mutable_data_ptr<double>();
  const float* const uniform = uniforms.const_data_ptr<float>();
  parallel_for(0, change.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      data[i] = static_cast<double>(uniform[i]) >= density ? 0 : rescale ? data[i] / density : data[i];
  });
}

at::Tensor combine(const std::vector<at::Tensor>& changes, const MergeConfig& config) {
  if (config.method != MergeMethod::ties && config.method != MergeMethod::dare_ties)
    return plain_sum(changes, config);
  std::vector<const double*> data;
  for (const at::Tensor& change : changes) data.push_back(change.const_data_ptr<double>());
  at::Tensor result = at::empty_like(changes.front());
  double* const to = result.mutable_data_ptr<double>();
  parallel_for(0, result.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = elected(data, i, config);
  });
  return result;
}

bool all_finite(const at::Tensor& values) {
  const at::Tensor wide = values.to(at::kDouble).contiguous();
  const auto* const bits = static_cast<const uint64_t*>(wide.const_data_ptr());
  constexpr uint64_t kExponent = uint64_t{0x7FF} << 52;  // all set: infinite or NaN
  uint64_t bad = 0;
  for (int64_t i = 0; i < wide.numel(); ++i) bad |= static_cast<uint64_t>((bits[i] & kExponent) == kExponent);
  return bad == 0;
}

}  // namespace orrery
