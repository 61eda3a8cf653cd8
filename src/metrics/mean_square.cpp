#include "metrics/mean_square.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mean.h>

#include "base/error.h"

namespace orrery {

at::Tensor mean_square(const at::Tensor& a, const at::Tensor& b, std::string_view what) {
  require(a.scalar_type() == b.scalar_type(), what, ": ", a.dtype(), " and ", b.dtype(),
          ", wanted equal dtypes");
  require(a.sizes() == b.sizes() && a.device() == b.device(), what, ": ", a.sizes(), " on ", a.device(),
          " and ", b.sizes(), " on ", b.device(), ", wanted equal shapes on one device");
  require(a.dim() >= 2 && a.numel() > 0, what, ": ", a.sizes(), ", wanted [B, ...] with something in it");
  // Differences of bytes and their squares are exact in float32.
  const at::ScalarType dtype = a.scalar_type() == at::kByte ? at::kFloat : at::kDouble;
  at::Tensor means = at::empty({a.size(0)}, at::kDouble);
  double* const out = means.mutable_data_ptr<double>();
  for (int64_t i = 0; i < a.size(0); ++i)  // one at a time: a long film in floating point is large
    out[i] = (a[i].to(dtype) - b[i].to(dtype)).square().mean(at::kDouble).item<double>();
  return means;
}

at::Tensor latent_l2(const at::Tensor& latents, const at::Tensor& truth) {
  require(latents.is_floating_point(), "latent_l2: ", latents.dtype(), ", wanted floating-point latents");
  return mean_square(latents, truth, "latent_l2");
}

}  // namespace orrery
