#include "metrics/frechet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_eigvalsh.h>
#include <ATen/ops/matmul.h>

#include <algorithm>

#include "base/error.h"

namespace orrery {

FeatureStats feature_stats(const at::Tensor& features, Covariance covariance) {
  require(features.is_floating_point() && features.dim() == 2, "features: ", features.dtype(), " ",
          features.sizes(), ", wanted floating point [n,d]");
  require(features.size(0) >= 2 && features.size(1) >= 1, "features: ", features.sizes(),
          ", wanted at least two items of at least one feature");
  const at::Tensor x = features.to(at::kDouble);
  require(x.isfinite().all().item<bool>(), "features: not all are finite");
  const at::Tensor mean = x.mean(0), deviation = x - mean;
  const int64_t divisor = x.size(0) - (covariance == Covariance::unbiased ? 1 : 0);
  return {mean, deviation.t().matmul(deviation) / divisor};
}

double frechet_distance(const FeatureStats& a, const FeatureStats& b) {
  require(a.mean.sizes() == b.mean.sizes(), "Fréchet distance: ", a.mean.numel(), " and ", b.mean.numel(),
          " features, wanted those of one network");
  const auto [values, vectors] = at::linalg_eigh(a.covariance);
  const at::Tensor root = (vectors * values.clamp_min(0).sqrt()).matmul(vectors.t());
  const at::Tensor squares = at::linalg_eigvalsh(root.matmul(b.covariance).matmul(root));
  const at::Tensor spread =
      a.covariance.trace() + b.covariance.trace() - 2 * squares.clamp_min(0).sqrt().sum();
  return std::max(0.0, ((a.mean - b.mean).square().sum() + spread).item<double>());
}

}  // namespace orrery
