// Training on several ranks follows training on one; step_mpi_slow_test.cpp tries more.
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

TEST(GradientsMpi, films_on_every_mesh_give_those_of_one_rank) {
  const Config config = odd_config(Dtype::float64);
  const Alone alone;
  const Outcome want = gradients(config, flow::BatchKind::video, alone.mesh);
  for (const MeshShape& shape : meshes())
    expect_close(gradients(config, flow::BatchKind::video, mesh_of(shape)), want, 1e-12, name_of(shape));
}

TEST(TrainStepMpi, every_mesh_gives_the_curve_of_one_rank_in_float32) {
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
  Config config = small_config(10, kBatch);
  config.numerics.dtype = Dtype::float64;
  const Alone alone;
  const Outcome want = trained(config, alone.mesh, 4);
  for (const MeshShape& shape : meshes())
    if (shape.context <= 2) expect_close(trained(config, mesh_of(shape), 4), want, 1e-11, name_of(shape));
}

}  // namespace
}  // namespace orrery::test
