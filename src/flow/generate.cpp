#include "flow/generate.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include "autograd/tape.h"
#include "base/error.h"

namespace orrery::flow {
namespace {

void check(const GenerateConfig& config, const GenerateInput& in) {
  require(in.noise.dim() == 5, "generate: noise is ", in.noise.sizes(), ", wanted [B, C, T, H, W]");
  require(in.text.defined() && in.text.size(0) == in.noise.size(0),
          "generate: wanted a text embedding for each of ", in.noise.size(0), " clips");
  require(!in.negative_text.defined() || in.negative_text.sizes() == in.text.sizes(),
          "generate: the negative prompt's embedding differs in shape from the text's, ", in.text.sizes());
  require(config.condition_frames >= 0, "generate: ", config.condition_frames,
          " condition frames, wanted >= 0");
  require(in.x0.defined() || config.condition_frames == 0, "generate: ", config.condition_frames,
          " condition frames without a clip to take them from");
}

}  // namespace

GenerateConfig generate_config(const SampleConfig& sample, const FlowConfig& flow, at::ScalarType precision) {
  return {.sampler = sample.sampler,
          .sigmas = sample.sigmas,
          .steps = sample.steps,
          .shift = sample.shift,
          .guidance = sample.guidance,
          .formula = sample.formula,
          .condition_frames = sample.condition_frames,
          .denoise = {.precision = precision,
                      .condition_timestep = flow.condition_timestep,
                      .replace_condition = flow.replace_condition}};
}

at::Tensor generate_latent(const GenerateConfig& config, const Denoiser& net, const GenerateInput& in,
                           const StateFn& after_step) {
  check(config, in);
  const NoRecording guard;
  const int64_t batch = in.noise.size(0), num_frames = in.noise.size(2);
  DenoiseInput call{.noise = in.noise, .padding_mask = in.padding_mask, .fps = in.fps, .kind = in.kind};
  if (in.kind == BatchKind::video) {
    const int64_t given = num_frames == 1 ? 0 : config.condition_frames;
    const at::Tensor counts = at::full({batch}, given, at::kLong);
    call.given = in.x0.defined() ? in.x0.to(in.noise.options()) : at::zeros_like(in.noise);
    call.mask = condition_mask(counts, num_frames, in.noise.scalar_type()).to(in.noise.device());
  }
  const at::Tensor negative = in.negative_text.defined() ? in.negative_text : at::zeros_like(in.text);
  const auto branch = [&](const at::Tensor& text) {
    call.text = text;
    return denoise(config.denoise, net, call).velocity.value();
  };
  const auto velocity = [&](const at::Tensor& x, const SamplerStep& step) {
    call.x = x;
    call.timesteps = at::full({1, 1}, static_cast<double>(step.timestep), x.options().dtype(at::kFloat));
    if (config.formula == Guidance::v2w && config.guidance == 0) return branch(in.text);
    if (!in.branches) call.apart_from_text = std::make_shared<char>();
    const Branches both = in.branches ? in.branches(branch, in.text, negative)
                                      : Branches{.cond = branch(in.text), .uncond = branch(negative)};
    return guided(config.formula, config.guidance, both.cond, both.uncond);
  };
  const NoiseLevels levels = noise_levels(config.sigmas, config.steps, config.shift);
  return sample(config.sampler, levels, in.noise, velocity, after_step);
}

}  // namespace orrery::flow
