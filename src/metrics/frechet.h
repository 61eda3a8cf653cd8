#pragma once
// Fréchet distance of two sets of features, each taken as a Gaussian: FVD of video features, FID of image
// features. Used by `orrery metrics` and by tests.
#include <ATen/core/Tensor.h>

namespace orrery {

// What the sum of products of deviations is divided by: n, as cd-fvd does for FVD; n - 1, as torchmetrics and
// pytorch-fid do for FID.
enum class Covariance { biased, unbiased };

struct FeatureStats {
  at::Tensor mean;        // float64 [d]
  at::Tensor covariance;  // float64 [d,d]
};

// features: floating point [n,d] on the CPU, finite; n at least 2.
FeatureStats feature_stats(const at::Tensor& features, Covariance covariance);

// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the root's trace taken as the sum of the roots of the
// eigenvalues of C1^(1/2) C2 C1^(1/2): they are those of C1 C2, real, and not negative but for rounding, so
// singular covariances (fewer samples than features) need no care. Never below 0.
double frechet_distance(const FeatureStats& a, const FeatureStats& b);

}  // namespace orrery
