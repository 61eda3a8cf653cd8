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

}  // namespace
}  // namespace orrery::test
