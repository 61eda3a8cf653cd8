#pragma once
// Golden cases of the measures of films: psnr, ssim, latent_l2, frechet_distance.
#include "parity/case.h"

namespace orrery {

// pred, target to per_frame, per_video and mean, of uint8 [N,T,H,W,3] without their first frame (variant grey
// or rgb), or to psnr of one item of floats after the other (variant clip).
NamedTensors run_psnr(const Case& c, at::Device device);
// The same on grey, and grey_pred, the grey of pred.
NamedTensors run_ssim(const Case& c, at::Device device);
// pred, target [N,T,C,h,w] to per_video and mean, without the first frame.
NamedTensors run_latent_l2(const Case& c, at::Device device);
// real, fake [n,d] to distance, mean_real, cov_real.
NamedTensors run_frechet_distance(const Case& c, at::Device device);

}  // namespace orrery
