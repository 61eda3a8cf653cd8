#pragma once
// The networks that train makes a step's latents and embeddings with, on meta tensors: what they add to the
// memory of a rank. Used by planned_rank.h.
#include <memory>

#include "base/config.h"
#include "infer/reason1_text.h"
#include "infer/t5_text.h"
#include "model/wan_tokenizer.h"
#include "plan/ceilings.h"

namespace orrery {

// The autoencoder of tokenizer.kind=wan, and the text encoder of text.kind=reason1 or t5, with the sizes that
// stand beside its weights, or the released ones where these are elsewhere. Both are left out where
// data.cache has their work; films and prompts that it lacks (data.uncached=encode) are not planned.
class PlannedEncoders {
 public:
  // Their weights: MemoryUse::encoders.
  PlannedEncoders(const Config& config, const Ceilings& ceilings);

  bool any() const { return tokenizer_ || reason1_ || t5_; }
  // Allocates what TrainStep does before its forward, for so many clips of a rank: one after the other, films
  // of the shape of config.data, which context ranks share by rows, and prompts of text.tokens.
  void encode(int64_t clips) const;

 private:
  at::Tensor latents(int64_t clips) const;
  at::Tensor embeddings(int64_t clips) const;

  const Config& config_;
  const bool films_on_device_;
  PlanClock clock_;  // nobody reads it: a step's time is that of training
  PlannedNetwork network_;
  const Mesh mesh_;                          // of one context group
  std::unique_ptr<WanTokenizer> tokenizer_;  // these three may be null
  std::unique_ptr<Reason1Net> reason1_;
  std::unique_ptr<T5Encoder> t5_;
};

}  // namespace orrery
