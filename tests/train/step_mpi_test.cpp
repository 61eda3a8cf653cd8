// The same global batches on one rank and on several, however the mesh is laid out: the same losses,
// gradients and weights; and the settings that promise it change no bit.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "train/scene_batches.h"
#include "world.h"

namespace orrery {
namespace {

constexpr int64_t kBatch = 8;

struct Outcome {
  std::vector<double> losses, norms;
  std::vector<at::Tensor> weights;  // whole, after the steps, on every rank
};

Outcome trained(const Config& config, const Mesh& mesh, int64_t steps) {
  const test::SceneNetwork model(config, mesh);
  const LinearTokenizer tokenizer = test::scene_tokenizer(config.tokenizer.channels);
  const auto text = make_text_encoder(config);
  TrainStep step(config, const_cast<DiT&>(model.net), *model.fsdp, mesh, tokenizer, *text);
  const int64_t share = kBatch / mesh.data().size(), begin = share * mesh.data().rank();
  Outcome out;
  for (int64_t i = 0; i < steps; ++i) {
    const StepResult result = step(test::scene_batch(i, begin, begin + share), i);
    out.losses.push_back(result.loss);
    out.norms.push_back(result.grad_norm);
  }
  for (const ShardView& w : model.fsdp->weights()) out.weights.push_back(model.fsdp->whole(w).clone());
  return out;
}

Outcome alone(const Config& config, int64_t steps) {
  const auto comm = single_rank_comm("alone");
  return trained(config, Mesh(*comm, {0}, {}), steps);
}

// All ranks on one node, in the order of the world.
Mesh mesh_of(MeshShape shape) {
  Comm& comm = test_world().comm();
  return {comm, std::vector<int>(static_cast<size_t>(comm.size()), 0), shape};
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const double size = b.to(at::kDouble).norm().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / (size + 1e-30);
}

void expect_close(const Outcome& got, const Outcome& want, double tolerance, const std::string& what) {
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], tolerance * want.losses[i]) << what << ", step " << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], 10 * tolerance * want.norms[i]) << what << ", step " << i;
  }
  for (size_t i = 0; i < want.weights.size(); ++i)
    EXPECT_LE(distance(got.weights[i], want.weights[i]), 10 * tolerance) << what << ", weight " << i;
}

void expect_same_bits(const Outcome& got, const Outcome& want, const std::string& what) {
  EXPECT_EQ(got.losses, want.losses) << what;
  EXPECT_EQ(got.norms, want.norms) << what;
  for (size_t i = 0; i < want.weights.size(); ++i)
    EXPECT_TRUE(at::equal(got.weights[i], want.weights[i])) << what << ", weight " << i;
}

std::vector<MeshShape> meshes() {
  const int n = test_world().size();
  std::vector<MeshShape> out;
  for (int shard = 1; shard <= n; ++shard)
    if (n % shard == 0) out.push_back({n / shard, shard, 1});
  return out;
}

std::string name_of(const MeshShape& m) {
  return text_of("replicate ", m.replicate, " shard ", m.shard, " context ", m.context);
}

TEST(TrainStepMpi, every_mesh_gives_the_curve_of_one_rank_in_float64) {
  Config config = test::small_config(4, kBatch);
  config.numerics.dtype = Dtype::float64;
  const Outcome want = alone(config, 4);
  for (const MeshShape& shape : meshes())
    expect_close(trained(config, mesh_of(shape), 4), want, 1e-12, name_of(shape));
}

TEST(TrainStepMpi, every_mesh_gives_the_curve_of_one_rank_in_float32) {
  const Config config = test::small_config(10, kBatch);
  const Outcome want = alone(config, 10);
  EXPECT_LT(want.losses.back(), want.losses.front());
  for (const MeshShape& shape : meshes()) {
    const Outcome got = trained(config, mesh_of(shape), 10);
    for (size_t i = 0; i < want.losses.size(); ++i)
      EXPECT_NEAR(got.losses[i], want.losses[i], 2e-6 * want.losses[i]) << name_of(shape) << ", step " << i;
  }
}

TEST(TrainStepMpi, micro_batches_add_up_with_and_without_traffic_between_them) {
  Config config = test::small_config(3, kBatch);
  config.numerics.dtype = Dtype::float64;
  const Outcome want = alone(config, 3);
  config.train.micro_batch = 1;
  for (const bool each : {false, true}) {
    config.parallel.reduce_each_micro_batch = each;
    for (const MeshShape& shape : meshes())
      expect_close(trained(config, mesh_of(shape), 3), want, 1e-12, text_of(name_of(shape), " each ", each));
  }
}

TEST(TrainStepMpi, prefetch_and_resharding_change_no_bit) {
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16}) {
    Config config = test::small_config(3, kBatch);
    config.numerics.dtype = dtype;
    for (const MeshShape& shape : meshes()) {
      config.parallel.prefetch = 1;
      config.parallel.reshard_after_forward = true;
      const Outcome want = trained(config, mesh_of(shape), 3);
      for (const int64_t prefetch : {0, 2, 100}) {
        config.parallel.prefetch = prefetch;
        expect_same_bits(trained(config, mesh_of(shape), 3), want,
                         text_of(name_of(shape), " prefetch ", prefetch));
      }
      config.parallel.reshard_after_forward = false;
      expect_same_bits(trained(config, mesh_of(shape), 3), want, text_of(name_of(shape), " kept"));
    }
  }
}

}  // namespace
}  // namespace orrery
