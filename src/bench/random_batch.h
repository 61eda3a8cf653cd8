#pragma once
// Made-up data for benchmarks, drawn on the model's device: nothing of films, tokenizer or prompts is needed.
#include "base/config.h"
#include "flow/objective.h"
#include "model/dit.h"
#include "parallel/fsdp.h"
#include "parallel/mesh.h"

namespace orrery {

// This rank's share of a global batch: latents of data.frames x height x width, noise and text N(0, 1), times
// and condition frames by their laws. Ranks of a context group get the same.
flow::FlowBatch random_batch(const Config& config, const Mesh& mesh, at::Device device);

// Matrices N(0, 0.02), vectors 1: values with which a network computes finite numbers.
void fill_weights(Fsdp& fsdp, uint64_t seed, int rank);
void fill_weights(const DiT& net, uint64_t seed);  // of a network that is not sharded; the same on all ranks

// (clips,C,T,h,w) of clips of data.frames x height x width.
Shape latent_shape(const Config& config, int64_t clips);

}  // namespace orrery
