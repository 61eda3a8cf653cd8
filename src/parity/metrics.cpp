#include "parity/metrics.h"

#include <ATen/ops/scalar_tensor.h>

#include "metrics/frechet.h"
#include "metrics/mean_square.h"
#include "metrics/psnr.h"
#include "metrics/ssim.h"
#include "parity/options.h"

namespace orrery {
namespace {

// Films without their first frame, [N,T-1,H,W,3].
at::Tensor compared(const Case& c, const std::string& name) {
  const at::Tensor films = c.input(name, at::kCPU);
  require(films.scalar_type() == at::kByte && films.dim() == 5 && films.size(1) >= 2, "inputs.", name, " is ",
          films.dtype(), " ", films.sizes(), ", wanted uint8 [N,T,H,W,3] of two frames or more");
  return films.slice(1, 1);
}

// values: of all frames, in order.
NamedTensors means(const Case& c, const at::Tensor& values, const at::Tensor& films) {
  const at::Tensor per_frame = values.view({films.size(0), films.size(1)});
  return wanted(
      c, {{"per_frame", per_frame}, {"per_video", per_frame.mean(1)}, {"mean", per_frame.mean(1).mean()}});
}

}  // namespace

NamedTensors run_psnr(const Case& c, at::Device) {
  require_known_options(c, {"variant", "max_pixel_value"});
  if (c.option<std::string>("variant") == "clip")
    return {{"psnr", clipped_psnr(c.input("pred", at::kCPU), c.input("target", at::kCPU),
                                  c.option<double>("max_pixel_value"))}};
  const bool grey = choice<bool>(c, "variant", {{"grey", true}, {"rgb", false}});
  at::Tensor pred = compared(c, "pred"), target = compared(c, "target");
  if (grey) pred = grey_of(pred), target = grey_of(target);
  return means(c, psnr(pred.flatten(0, 1), target.flatten(0, 1)), pred);
}

NamedTensors run_ssim(const Case& c, at::Device) {
  require_known_options(c,
                        {"win_size", "gaussian_weights", "use_sample_covariance", "data_range", "K1", "K2"});
  require(c.option<int64_t>("win_size") == 7 && !c.option<bool>("gaussian_weights") &&
              c.option<bool>("use_sample_covariance") && c.option<int64_t>("data_range") == 255 &&
              c.option<double>("K1") == 0.01 && c.option<double>("K2") == 0.03,
          "config: wanted the defaults of scikit-image's structural_similarity on uint8");
  const at::Tensor pred = grey_of(compared(c, "pred")), target = grey_of(compared(c, "target"));
  NamedTensors results = means(c, ssim(pred.flatten(0, 1), target.flatten(0, 1)), pred);
  if (c.wants("grey_pred")) results["grey_pred"] = pred;
  return results;
}

NamedTensors run_latent_l2(const Case& c, at::Device device) {
  require_known_options(c, {});
  const at::Tensor per_video =
      latent_l2(c.input("pred", device).slice(1, 1), c.input("target", device).slice(1, 1));
  return wanted(c, {{"per_video", per_video}, {"mean", per_video.mean()}});
}

NamedTensors run_frechet_distance(const Case& c, at::Device) {
  require_known_options(c, {"unbiased"});
  const Covariance covariance = c.option<bool>("unbiased") ? Covariance::unbiased : Covariance::biased;
  const FeatureStats real = feature_stats(c.input("real", at::kCPU), covariance);
  const FeatureStats fake = feature_stats(c.input("fake", at::kCPU), covariance);
  return wanted(c, {{"distance", at::scalar_tensor(frechet_distance(real, fake), at::kDouble)},
                    {"mean_real", real.mean},
                    {"cov_real", real.covariance}});
}

}  // namespace orrery
