#include "metrics/psnr.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/log10.h>

#include "base/error.h"
#include "metrics/mean_square.h"

namespace orrery {

at::Tensor psnr(const at::Tensor& film, const at::Tensor& truth) {
  require(film.scalar_type() == at::kByte && truth.scalar_type() == at::kByte, "psnr: ", film.dtype(),
          " and ", truth.dtype(), ", wanted uint8");
  return 10 * (255.0 * 255.0 / mean_square(film, truth, "psnr")).log10();
}

at::Tensor clipped_psnr(const at::Tensor& film, const at::Tensor& truth, double peak) {
  require(film.is_floating_point(), "psnr: ", film.dtype(), ", wanted floating-point pictures");
  require(peak > 0, "psnr: a peak of ", peak, ", wanted more than 0");
  return 10 * (peak * peak / mean_square(film.clamp(0, peak), truth.clamp(0, peak), "psnr")).log10();
}

}  // namespace orrery
