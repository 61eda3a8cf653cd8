#pragma once
// Generator: films from condition frames and prompts. Called by the generate command, by samples during
// training and by evaluation.
#include "base/config.h"
#include "flow/generate.h"
#include "infer/world_model.h"

namespace orrery {

class Generator {
 public:
  // denoiser: calls net (denoiser_of). net, tokenizer and text must outlive it.
  Generator(const Config& config, const DiT& net, flow::Denoiser denoiser, const VideoTokenizer& tokenizer,
            const TextEncoder& text);

  // video: uint8 (B,3,F,H,W), whose first pixel frames (those of sample.condition_frames latent frames) are
  // given; the rest is not read, since the tokenizer is causal. seeds: one a clip, of the initial noise
  // (numpy's generator). Returns uint8 of the same shape.
  at::Tensor operator()(const at::Tensor& video, const std::vector<std::string>& prompts,
                        const std::vector<int64_t>& seeds, const at::Tensor& padding_mask = {}) const;

 private:
  const Config& config_;
  const DiT& net_;
  const VideoTokenizer& tokenizer_;
  const TextEncoder& text_;
  flow::GenerateConfig generate_;
  flow::Denoiser denoiser_;
};

}  // namespace orrery
