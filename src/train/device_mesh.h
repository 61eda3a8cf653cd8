#pragma once
// The ranks of a run on the device of its model, and their mesh. Called by the trainer and by benchmarks.
#include "base/config.h"
#include "parallel/mesh.h"

namespace orrery {

// All ranks, for tensors on the model's device; null on the CPU, where World::comm() serves. Collective.
std::unique_ptr<Comm> device_comm(const NumericsConfig& numerics, World& world);

// device: as returned by device_comm. Collective.
Mesh make_mesh(const ParallelConfig& parallel, World& world, Comm* device);

}  // namespace orrery
