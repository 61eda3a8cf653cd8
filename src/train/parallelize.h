#pragma once
// The one place where model and parallelism meet. Called by the trainer, by dry runs and by tests.
#include "base/config.h"
#include "model/dit.h"
#include "parallel/fsdp.h"
#include "parallel/mesh.h"

namespace orrery {

// Splits the network's parameters over the shard and context ranks of the mesh, unit by unit, and gives its
// buffers storage on the device. The network comes from its constructor (meta device); the shards have no
// values yet: Fsdp::initialize or load_weights gives them. Keep the result as long as the network is called.
std::unique_ptr<Fsdp> shard_dit(DiT& net, const Mesh& mesh, const Config& config, at::Device device);

FsdpConfig fsdp_config(const Config& config);

}  // namespace orrery
