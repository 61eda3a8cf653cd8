// Gradients do not depend on how the mesh is laid out, odd sizes included, and the settings that promise it
// change no bit. Run with 2, 4 and 8 ranks.
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

void expect_gradients_of_one_rank(const Config& config, double tolerance) {
  const Alone alone;
  for (const auto kind : {flow::BatchKind::video, flow::BatchKind::image}) {
    const Outcome want = gradients(config, kind, alone.mesh);
    for (const MeshShape& shape : meshes())
      expect_close(gradients(config, kind, mesh_of(shape)), want, tolerance,
                   text_of(kind == flow::BatchKind::image ? "images, " : "films, ", name_of(shape)));
  }
}

TEST(GradientsMpi, every_mesh_gives_those_of_one_rank_in_float64) {
  expect_gradients_of_one_rank(odd_config(Dtype::float64), 1e-12);
}

TEST(GradientsMpi, every_mesh_gives_those_of_one_rank_in_float32) {
  expect_gradients_of_one_rank(odd_config(Dtype::float32), 2e-6);
}

TEST(GradientsMpi, micro_batches_add_up_with_and_without_traffic_between_them) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  Config config = odd_config(Dtype::float64);
  const Alone alone;
  const Outcome want = gradients(config, flow::BatchKind::video, alone.mesh);
  config.train.micro_batch = 1;
  for (const bool each : {false, true}) {
    config.parallel.reduce_each_micro_batch = each;
    for (const MeshShape& shape : meshes())
      expect_close(gradients(config, flow::BatchKind::video, mesh_of(shape)), want, 1e-12,
                   text_of(name_of(shape), " each ", each));
  }
}

TEST(GradientsMpi, prefetch_resharding_and_recompute_change_no_bit) {
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const MeshShape& shape : meshes()) {
      if (test_world().size() == 8 && std::max({shape.replicate, shape.shard, shape.context}) != 2) continue;
      const Mesh mesh = mesh_of(shape);
      const Config config = odd_config(dtype);
      const Outcome want = gradients(config, flow::BatchKind::video, mesh);
      const auto expect_same = [&](const Config& changed, const std::string& what) {
        expect_same_bits(gradients(changed, flow::BatchKind::video, mesh), want,
                         text_of(name_of(shape), " ", name_of(dtype), " ", what));
      };
      Config changed = config;
      for (const int64_t prefetch : {0, 2, 100}) {
        changed.parallel.prefetch = prefetch;
        expect_same(changed, text_of("prefetch ", prefetch));
      }
      changed.parallel.reshard_after_forward = false;
      expect_same(changed, "kept");
      changed = config;
      for (const MemoryPolicy policy : {MemoryPolicy::full, MemoryPolicy::predict2_2b_720}) {
        changed.memory.policy = policy;
        expect_same(changed, std::string(name_of(policy)));
      }
    }
}

TEST(TrainStepMpi, every_mesh_gives_the_curve_of_one_rank_in_float32) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  const Config config = small_config(10, kBatch);
  const Alone alone;
  const Outcome want = trained(config, alone.mesh, 10);
  EXPECT_LT(want.losses.back(), want.losses.front());
  for (const MeshShape& shape : meshes()) {
    if (shape.context > 2) continue;  // two latent frames
    const Outcome got = trained(config, mesh_of(shape), 10);
    for (size_t i = 0; i < want.losses.size(); ++i)
      EXPECT_NEAR(got.losses[i], want.losses[i], 2e-6 * want.losses[i]) << name_of(shape) << ", step " << i;
  }
}

TEST(TrainStepMpi, every_mesh_gives_the_curve_of_one_rank_in_float64) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  Config config = small_config(10, kBatch);
  config.numerics.dtype = Dtype::float64;
  const Alone alone;
  const Outcome want = trained(config, alone.mesh, 4);
  for (const MeshShape& shape : meshes())
    if (shape.context <= 2) expect_close(trained(config, mesh_of(shape), 4), want, 1e-11, name_of(shape));
}

}  // namespace
}  // namespace orrery::test
