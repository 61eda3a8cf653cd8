// Plans of several CPU ranks against what the ranks then take.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "plan/planned_runs.h"
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

TEST(PlannedRanks, memory_is_what_the_fullest_rank_takes_on_every_mesh) {
  for (const char* preset : {"nano", "tiny"})
    for (const MemoryPolicy policy : {MemoryPolicy::none, MemoryPolicy::full})
      for (const MeshShape& shape : meshes()) {
        if (shape.context > 2) continue;                                              // two latent frames
        if (preset == std::string("tiny") && policy != MemoryPolicy::none) continue;  // takes long
        Config c = small_config(10, std::max(4, test_world().size()));
        c.model.preset = preset;
        c.memory.policy = policy;
        c.parallel.replicate = shape.replicate;
        c.parallel.shard = shape.shard;
        c.parallel.context = shape.context;
        const Mesh mesh = mesh_of(shape);
        const MemoryUsage counted = counted_peak(c, mesh);
        at::Tensor most = at::full({1}, static_cast<double>(counted.total()), at::kDouble);
        mesh.along({Axis::replicate, Axis::shard, Axis::context})
            .all_reduce(most, ReduceOp::max, "peak")
            .wait();
        const MemoryUsage planned =
            dry_run(c, std::vector<int>(static_cast<size_t>(shape.size()), 0), read_ceilings("cpu")).memory;
        EXPECT_NEAR(static_cast<double>(planned.total()) / most.item<double>(), 1, 0.01)
            << preset << ", " << name_of(policy) << ", " << name_of(shape)
            << "\nplanned: " << describe(planned) << "\ncounted: " << describe(counted);
      }
}

}  // namespace
}  // namespace orrery::test
