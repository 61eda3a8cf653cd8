#include "flow/denoise.h"

#include <ATen/ops/zeros_like.h>

#include "base/error.h"
#include "ops/elementwise.h"

namespace orrery::flow {
namespace {

void check(const DenoiseInput& in) {
  require(in.x.dim() == 5, "denoise: latent is ", in.x.sizes(), ", wanted [B, C, T, H, W]");
  require(in.noise.sizes() == in.x.sizes(), "denoise: noise is ", in.noise.sizes(), ", the latent ",
          in.x.sizes());
  require(in.timesteps.dim() == 2 && in.timesteps.size(1) == 1, "denoise: timesteps are ",
          in.timesteps.sizes(), ", wanted [B, 1]");
  if (in.kind == BatchKind::image) return;
  require(in.given.defined() && in.mask.defined(), "denoise: a video batch without given frames and mask");
  require(in.given.sizes() == in.x.sizes(), "denoise: given frames are ", in.given.sizes(), ", the latent ",
          in.x.sizes());
  const std::vector<int64_t> wanted = {in.x.size(0), 1, in.x.size(2), 1, 1};
  require(in.mask.sizes() == at::IntArrayRef(wanted), "denoise: condition mask is ", in.mask.sizes(),
          ", wanted ", at::IntArrayRef(wanted));
}

DenoiserInput network_input(const DenoiseConfig& config, const DenoiseInput& in) {
  DenoiserInput out{.text = in.text,
                    .padding_mask = in.padding_mask,
                    .fps = in.fps,
                    .kind = in.kind,
                    .apart_from_text = in.apart_from_text};
  at::Tensor x = in.x, timesteps = in.timesteps.expand({in.x.size(0), 1});
  if (in.kind == BatchKind::video) {
    x = replace_frames(x, config.use_video_condition ? in.given : at::zeros_like(in.given), in.mask);
    if (config.condition_timestep >= 0)
      timesteps = frame_timesteps(timesteps, in.mask, config.condition_timestep);
    out.condition_mask = in.mask.to(config.precision).expand({x.size(0), 1, x.size(2), x.size(3), x.size(4)});
  }
  out.x = Variable(x.to(config.precision));
  out.timesteps = Variable(timesteps);
  return out;
}

}  // namespace

Denoised denoise(const DenoiseConfig& config, const Denoiser& net, const DenoiseInput& in) {
  check(in);
  Denoised out{{}, network_input(config, in)};
  const Variable raw = net(out.inputs);
  require(at::IntArrayRef(raw.shape()) == in.x.sizes(), "denoise: the network's velocity is ",
          at::IntArrayRef(raw.shape()), ", the latent ", in.x.sizes());
  out.velocity = ops::cast(raw, in.noise.scalar_type());
  if (in.kind == BatchKind::video && config.replace_condition) {
    const Variable exact(in.noise - in.given.to(in.noise.scalar_type()));
    out.velocity = ops::blend(exact, out.velocity, in.mask);
  }
  return out;
}

}  // namespace orrery::flow
