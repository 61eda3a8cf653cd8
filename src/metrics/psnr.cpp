#include "metrics/psnr.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mean.h>

#include <cmath>

#include "base/error.h"

namespace orrery {

at::Tensor psnr(const at::Tensor& film, const at::Tensor& truth) {
  require(film.scalar_type() == at::kByte && truth.scalar_type() == at::kByte, "psnr: ", film.dtype(),
          " and ", truth.dtype(), ", wanted uint8");
  require(film.sizes() == truth.sizes() && film.device() == truth.device(), "psnr: ", film.sizes(), " on ",
          film.device(), " and ", truth.sizes(), " on ", truth.device(),
          ", wanted equal shapes on one device");
  require(film.dim() >= 2 && film.numel() > 0, "psnr: ", film.sizes(),
          ", wanted [B, ...] with something in it");
  at::Tensor ratios = at::empty({film.size(0)}, at::kDouble);
  double* const out = ratios.mutable_data_ptr<double>();
  for (int64_t i = 0; i < film.size(0); ++i) {  // one clip at a time: a long film in floating point is large
    const at::Tensor difference = film[i].to(at::kFloat) - truth[i].to(at::kFloat);
    out[i] = 10 * std::log10(255.0 * 255.0 / difference.square().mean(at::kDouble).item<double>());
  }
  return ratios;
}

}  // namespace orrery
