#include "model/video_values.h"

#include <ATen/ops/reciprocal.h>
#include <ATen/ops/tensor.h>

#include "base/error.h"
#include "ops/elementwise.h"

namespace orrery {
namespace {

Variable per_channel(const at::Tensor& values, const Variable& x) {
  require(x.dim() == 5 && x.size(1) == values.numel(), "latents ", at::IntArrayRef(x.shape()),
          " with the scale of ", values.numel(), " channels");
  return Variable(values.view({1, -1, 1, 1, 1}));
}

// wan/modules/vae.py, class WanVAE.
constexpr std::array<double, 16> kMean{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                       -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                       -0.1922, -0.9497, 0.2503,  -0.2921};
constexpr std::array<double, 16> kStd{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                      3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

}  // namespace

at::Tensor values_of_pixels(const at::Tensor& pixels, at::ScalarType type) {
  require(pixels.scalar_type() == at::kByte, "pixels are ", pixels.dtype(), ", wanted uint8");
  return pixels.to(type).div_(127.5).sub_(1);
}

at::Tensor pixels_of_values(const at::Tensor& values) {
  return values.to(at::kFloat).add(1).div_(2).clamp_(0, 1).mul_(255).to(at::kByte);
}

Variable LatentScale::normalise(const Variable& mu_BCTHW) const {
  return ops::mul(ops::sub(mu_BCTHW, per_channel(mean, mu_BCTHW)), per_channel(inv_std, mu_BCTHW));
}

Variable LatentScale::denormalise(const Variable& z_BCTHW) const {
  return ops::add(ops::div(z_BCTHW, per_channel(inv_std, z_BCTHW)), per_channel(mean, z_BCTHW));
}

LatentScale latent_scale(const at::Tensor& mean, const at::Tensor& std) {
  require(mean.dim() == 1 && std.sizes() == mean.sizes() && std.dtype() == mean.dtype() &&
              mean.is_floating_point(),
          "latent scale: mean ", mean.dtype(), " ", mean.sizes(), ", std ", std.dtype(), " ", std.sizes());
  return {mean, at::reciprocal(std)};
}

LatentScale wan_latent_scale(at::ScalarType type, at::Device device) {
  require(type == at::kBFloat16 || type == at::kFloat || type == at::kDouble, "latents in ", type,
          ", wanted bfloat16, float32 or float64");
  const at::Tensor mean = at::tensor(at::ArrayRef<double>(kMean)),
                   std = at::tensor(at::ArrayRef<double>(kStd));
  const auto rounded = [](const at::Tensor& x) { return x.to(at::kFloat).to(at::kBFloat16); };
  const LatentScale scale = latent_scale(rounded(mean), rounded(std));
  return {scale.mean.to(device, type), scale.inv_std.to(device, type)};
}

}  // namespace orrery
