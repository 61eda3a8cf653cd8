#pragma once
// From noise to a latent clip: condition frames, guidance and the sampler put together. Called by the
// generate command, by samples during training and by evaluation; encoding and decoding are theirs. Source:
// cosmos-predict2.5, predict2/models/text2world_model_rectified_flow.py (generate_samples_from_batch) and
// video2world_model_rectified_flow.py (get_velocity_fn_from_batch).
#include "flow/denoise.h"
#include "flow/sampler.h"

namespace orrery::flow {

struct GenerateConfig {
  SamplerKind sampler = SamplerKind::unipc;
  Sigmas sigmas = Sigmas::linear;
  int64_t steps = 35;  // Karras levels take one more
  double shift = 5;    // linear levels only
  double guidance = 7;
  Guidance formula = Guidance::v2w;
  int64_t condition_frames = 1;  // latent frames of x0 that are given; clips of one frame have none
  DenoiseConfig denoise{};
};
GenerateConfig generate_config(const SampleConfig& sample, const FlowConfig& flow, at::ScalarType precision);

// The two branches of the guidance at one state.
struct Branches {
  at::Tensor cond, uncond;  // velocities
};
// Evaluates both; each(text) is one of them. Where two groups of ranks take a branch each, it also exchanges
// them.
using BranchesFn = std::function<Branches(const std::function<at::Tensor(const at::Tensor& text)>& each,
                                          const at::Tensor& text, const at::Tensor& negative_text)>;

struct GenerateInput {
  at::Tensor noise;   // [B, C, T, H, W] float32 or float64: the state at the highest noise level
  at::Tensor x0{};    // same shape: clean latent, read on the given frames only; may be undefined without any
  at::Tensor text{};  // [B, tokens, channels]
  at::Tensor negative_text{};  // same, for the unconditional branch; undefined: zeros
  at::Tensor padding_mask{}, fps{};
  BatchKind kind = BatchKind::video;  // image: no mask enters the network
  BranchesFn branches{};              // empty: one after the other
};

// The latent clip [B, C, T, H, W] in noise's dtype. With replace_condition its given frames follow the
// straight path to x0. The network runs twice a step (once where the guidance has no effect); nothing is
// recorded.
at::Tensor generate_latent(const GenerateConfig& config, const Denoiser& net, const GenerateInput& in,
                           const StateFn& after_step = {});

}  // namespace orrery::flow
