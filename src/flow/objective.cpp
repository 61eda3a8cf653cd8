#include "flow/objective.h"

#include <ATen/ops/empty.h>

#include "base/error.h"
#include "base/parallel_for.h"
#include "base/rng.h"
#include "ops/loss.h"
#include "ops/numeric.h"
#include "ops/reduce.h"

namespace orrery::flow {
namespace {

void check(const FlowBatch& batch) {
  require(batch.x0.dim() == 5, "flow: x0 is ", batch.x0.sizes(), ", wanted [B, C, T, H, W]");
  const at::ScalarType dtype = batch.x0.scalar_type();
  require(dtype == at::kFloat || dtype == at::kDouble, "flow: x0 is ", dtype, ", wanted float32 or float64");
  require(batch.noise.sizes() == batch.x0.sizes() && batch.noise.scalar_type() == dtype, "flow: noise is ",
          batch.noise.sizes(), " ", batch.noise.scalar_type(), ", x0 ", batch.x0.sizes(), " ", dtype);
  require(batch.times.sigmas.dim() == 2 && batch.times.sigmas.size(0) == batch.x0.size(0),
          "flow: sigmas are ", batch.times.sigmas.sizes(), " for ", batch.x0.size(0),
          " samples, wanted [B, 1]");
  if (batch.kind == BatchKind::video)
    require(batch.num_condition_frames.defined() && batch.num_condition_frames.dim() == 1 &&
                batch.num_condition_frames.size(0) == batch.x0.size(0),
            "flow: a video batch wants the number of condition frames of each sample");
}

}  // namespace

FlowLoss flow_loss(const DenoiseConfig& config, const Denoiser& net, const FlowBatch& batch) {
  check(batch);
  const at::Tensor& x0 = batch.x0;
  const at::Tensor sigma = to_device(batch.times.sigmas, x0.options()).view({x0.size(0), 1, 1, 1, 1});
  FlowLoss out;
  out.x_t = batch.noise * sigma + x0 * (1 - sigma);
  out.target = batch.noise - x0;

  DenoiseInput in{
      .x = out.x_t.to(config.precision),
      .timesteps = to_device(batch.times.timesteps, batch.times.timesteps.options().device(x0.device())),
      .noise = batch.noise,
      .text = batch.text,
      .padding_mask = batch.padding_mask,
      .fps = batch.fps,
      .kind = batch.kind};
  if (batch.kind == BatchKind::video) {
    in.given = x0.to(config.precision);
    in.mask = to_device(condition_mask(batch.num_condition_frames, x0.size(2), config.precision),
                        in.given.options());
  }
  Denoised denoised = denoise(config, net, in);
  out.velocity = denoised.velocity;
  out.inputs = std::move(denoised.inputs);
  out.per_sample = ops::squared_error(out.velocity, Variable(out.target));
  out.loss = ops::mean(out.per_sample);
  return out;
}

at::Tensor draw_noise(uint64_t seed, int64_t step, std::span<const int64_t> samples, at::IntArrayRef shape) {
  std::vector<int64_t> whole = {static_cast<int64_t>(samples.size())};
  whole.insert(whole.end(), shape.begin(), shape.end());
  at::Tensor out = at::empty(whole, at::kFloat);
  const auto draw = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto sample = static_cast<uint64_t>(samples[static_cast<size_t>(i)]);
      const Rng rng(seed, "flow.noise", {static_cast<uint64_t>(step), sample});
      out.select(0, i).copy_(rng.normal_tensor(shape));
    }
  };
  // Large samples are drawn by all threads together, small ones each by one.
  constexpr int64_t kLarge = 1 << 17;
  if (c10::multiply_integers(shape) >= kLarge)
    draw(0, whole[0]);
  else
    parallel_for(0, whole[0], 1, draw);
  return out;
}

DenoiseConfig denoise_config(const FlowConfig& config, at::ScalarType precision) {
  return {.precision = precision,
          .condition_timestep = config.condition_timestep,
          .replace_condition = config.replace_condition};
}

}  // namespace orrery::flow
