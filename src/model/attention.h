#pragma once
// Multi-head attention of the DiT: RMS-normalised queries and keys, optional rotary positions, no biases. The
// function that mixes tokens is a member, so that context parallelism can put its own in.
#include "model/layers.h"
#include "model/rope.h"
#include "ops/attention.h"

namespace orrery {

struct Attention final : Module {
  Attention(Module* parent, std::string name, int64_t dim, int64_t context_dim, int64_t heads);
  Linear q_proj, k_proj, v_proj, output_proj;
  RmsNorm q_norm, k_norm;  // over the head dim, shared by the heads
  int64_t heads, head_dim;
  DeferredAttentionFn attention = deferred(ops::attention);

  // x (B,S,D), context (B,N,C): x itself in self-attention. rope: for self-attention only.
  Variable operator()(const Variable& x_BSD, const Variable& context_BNC, const RopeTable* rope) const;
};

}  // namespace orrery
