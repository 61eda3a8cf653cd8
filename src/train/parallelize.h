#pragma once
// The one place where model and parallelism meet. Called by the trainer, by dry runs and by tests.
#include "base/config.h"
#include "flow/denoise.h"
#include "model/dit.h"
#include "parallel/fsdp.h"
#include "parallel/mesh.h"

namespace orrery {

struct ParallelDiT {
  std::unique_ptr<Fsdp> fsdp;
  // The network as the flow knows it, on whole clips: with context ranks, each computes its own latent frames
  // of a video and all of them get the whole velocity; images are computed whole by each rank. Ranks of a
  // context group call it together with the same input. The input gets no gradient.
  flow::Denoiser denoiser;
};

// Splits the network's parameters over the shard and context ranks of the mesh, unit by unit, gives its
// buffers storage on the device, and puts Ulysses attention in. The network comes from its constructor (meta
// device); the shards have no values yet: Fsdp::initialize or load_weights gives them. Named memory
// policies are attached; for auto, attach_auto_recompute follows when there are values to measure with. Net,
// mesh and result must live while the network is called. Throws Error where heads or frames (data.frames) do
// not divide.
ParallelDiT parallelize_dit(DiT& net, const Mesh& mesh, const Config& config, at::Device device);

FsdpConfig fsdp_config(const Config& config);

}  // namespace orrery
