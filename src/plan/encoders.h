#pragma once
// The networks that train makes a step's latents and embeddings with, on meta tensors: what they add to the
// memory of a rank, in steps and when samples are made. Used by planned_rank.h.
#include <memory>

#include "base/config.h"
#include "infer/reason1_text.h"
#include "infer/t5_text.h"
#include "model/wan_tokenizer.h"
#include "plan/ceilings.h"

namespace orrery {

// The autoencoder of tokenizer.kind=wan, which a run always holds, and the text encoder of text.kind=reason1
// or t5, with the sizes that stand beside its weights, or the released ones where these are elsewhere. Steps
// do without them where data.cache has their work, and then the text encoder is left out; films and prompts
// that it lacks (data.uncached=encode) are not planned.
class PlannedEncoders {
 public:
  // Their weights: MemoryUse::encoders.
  PlannedEncoders(const Config& config, const Ceilings& ceilings);

  bool work_in_steps() const { return (tokenizer_ && encodes_films_) || reason1_ || t5_; }
  // Allocates what TrainStep does before its forward, for so many clips of a rank: one after the other, films
  // of the shape of config.data, which context ranks share by rows, and prompts of text.tokens.
  void encode(int64_t clips) const;
  // Whether samples are made and pass through the autoencoder.
  bool work_in_samples() const;
  // Allocates what that takes of it, for the largest set of the run; of `groups` groups of ranks with clips
  // of their own, each has its share in one call (train/evaluate.h). A film, which is on the host in runs on
  // GPUs, is counted too.
  void sample(int64_t groups) const;

 private:
  at::Tensor latents(int64_t clips) const;
  at::Tensor embeddings(int64_t clips) const;

  const Config& config_;
  const bool films_on_device_, encodes_films_;
  PlanClock clock_;  // nobody reads it: a step's time is that of training
  PlannedNetwork network_;
  const Mesh mesh_;                          // of one context group
  std::unique_ptr<WanTokenizer> tokenizer_;  // these three may be null
  std::unique_ptr<Reason1Net> reason1_;
  std::unique_ptr<T5Encoder> t5_;
};

}  // namespace orrery
