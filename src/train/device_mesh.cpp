#include "train/device_mesh.h"

#include "infer/world_model.h"
#include "parallel/comm_nccl.h"

namespace orrery {

std::unique_ptr<Comm> device_comm(const NumericsConfig& numerics, World& world) {
  if (numerics.device == Device::cpu) return nullptr;
  if (world.size() == 1) return single_rank_comm("world", c10::kCUDA);
  return nccl_comm(world, world.comm(), device_of(numerics, world.local_rank()));
}

Mesh make_mesh(const ParallelConfig& c, World& world, Comm* device) {
  std::vector<int> node_of;
  for (int r = 0; r < world.size(); ++r) node_of.push_back(world.node_of(r));
  return {device ? *device : world.comm(),
          node_of,
          {static_cast<int>(c.replicate), static_cast<int>(c.shard), static_cast<int>(c.context)}};
}

}  // namespace orrery
