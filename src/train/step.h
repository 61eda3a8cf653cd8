#pragma once
// One optimizer step: latents and text of a batch, flow loss, backward with the gradients' mean over ranks,
// clip, update, average.
#include <functional>

#include "base/config.h"
#include "flow/condition.h"
#include "flow/objective.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"
#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/grad_clip.h"
#include "optim/lr_schedule.h"
#include "train/parallelize.h"

namespace orrery {

// This rank's share of a global batch.
struct StepBatch {
  at::Tensor video;  // uint8 (B,3,F,H,W)
  // (C,T,h,w) of each clip, undefined where they are to be made of its video; or empty: of none.
  std::vector<at::Tensor> latents = {};
  std::vector<std::string> captions;
  at::Tensor padding_mask;       // float32 (B,1,H,W), 1 on padded pixels; may be undefined
  std::vector<int64_t> samples;  // (B) numbers within the global batch: they name the random draws
  flow::BatchKind kind = flow::BatchKind::video;
};

// What a step starts from: this rank's part of the batch, and what is made of it on the host.
struct StepInput {
  StepBatch batch;
  int64_t clips = 0;       // of the global batch
  at::Tensor noise, text;  // text: undefined where a network is to encode the captions
};

struct StepResult {
  double loss = 0;       // mean over the global batch
  double grad_norm = 0;  // before clipping
  double lr = 0;
  bool skipped = false;  // a gradient was not finite and the settings say skip
};

class TrainStep {
 public:
  // model: of net, on this mesh (parallelize_dit). All must outlive it.
  TrainStep(const Config& config, DiT& net, ParallelDiT& model, const Mesh& mesh,
            const VideoTokenizer& tokenizer, const TextEncoder& text);

  // step counts from 0. Collective: every rank calls it with its share; ranks of one context group with the
  // same one.
  StepResult operator()(const StepBatch& batch, int64_t step) { return run(prepare(batch, step), step); }
  // The same in two parts. The first is the host's work alone, and another thread may do it for the next step
  // while the device is at this one.
  StepInput prepare(const StepBatch& batch, int64_t step) const;
  StepResult run(const StepInput& input, int64_t step);
  // The same on a batch that is drawn already, latents and all; clips: of the global batch.
  StepResult on_drawn(const flow::FlowBatch& batch, int64_t clips, int64_t step);

  // Loss and gradients of this rank's share, reduced into fsdp; the mean loss of the share, in double, on the
  // device. Runs on meta tensors too.
  at::Tensor forward_backward(const flow::FlowBatch& batch);

  // Called after the last operation of backward, when gradients are about to be completed and clipped.
  std::function<void()> before_clip = [] {};
  // Called after that, when weights, averages and optimizer are about to change.
  std::function<void()> before_update = [] {};

  AdamW& optimizer() { return optimizer_; }
  AveragedWeights* averaged() { return averaged_.get(); }  // null: optim.ema = none

 private:
  flow::FlowBatch draw(const StepInput& input, int64_t step) const;
  at::Tensor text_for(const StepBatch& batch, int64_t step) const;
  at::Tensor latents_of(const StepBatch& batch, at::TensorOptions options) const;
  bool has_films_of_group(const StepBatch& batch) const;
  std::vector<NamedTensor> mean_gradients();
  StepBatch share_of(const StepBatch& batch) const;
  at::Tensor over_ranks(const at::Tensor& mine, ReduceOp op, Comm& comm, std::string_view label) const;

  const Config& config_;
  DiT& net_;
  Fsdp& fsdp_;
  const Mesh& mesh_;
  const VideoTokenizer& tokenizer_;
  const TextEncoder& text_;
  flow::Denoiser denoiser_;
  flow::TimeConfig time_;
  flow::DenoiseConfig denoise_;
  LrConfig lr_;
  std::vector<NamedTensor> weights_;
  AdamW optimizer_;
  GradClip clip_;
  std::unique_ptr<AveragedWeights> averaged_;
};

}  // namespace orrery
