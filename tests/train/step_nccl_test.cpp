// The training step on several GPUs: gradients on every mesh are those of one CPU rank, settings of speed
// change no bit, and what FSDP gathers is freed.
#include <ATen/ops/cat.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include "base/numerics.h"
#include "infer/make_text_encoder.h"
#include "parallel/nccl_fixture.h"
#include "train/mesh_runs.h"
#include "train/sync_counter.h"

namespace orrery::test {
namespace {

Config on_gpus(Config config) {
  config.numerics.device = Device::cuda;
  return config;
}

// All gradients one after the other, in double.
at::Tensor flat(const Outcome& outcome) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& x : outcome.tensors) out.push_back(x.to(at::kDouble).view({-1}));
  return at::cat(out);
}

const char* name_of_kind(flow::BatchKind kind) {
  return kind == flow::BatchKind::image ? "images" : "films";
}

}  // namespace

class StepNccl : public NcclTest {
 protected:
  static void TearDownTestSuite() {
    meshes_.clear();
    NcclTest::TearDownTestSuite();
  }
  void TearDown() override { set_deterministic(false); }

  // One a shape for all tests: it takes seconds to connect the GPUs of its groups.
  static const Mesh& gpus(MeshShape shape) {
    std::unique_ptr<Mesh>& mesh = meshes_[name_of(shape)];
    if (!mesh) mesh = std::make_unique<Mesh>(mesh_of(shape, nccl()));
    return *mesh;
  }

  static void expect_gradients_of_the_cpu(const Config& config, double tolerance) {
    const Alone alone;
    for (const auto kind : {flow::BatchKind::video, flow::BatchKind::image}) {
      const Outcome want = gradients(config, kind, alone.mesh);
      for (const MeshShape& shape : meshes())
        expect_close(gradients(on_gpus(config), kind, gpus(shape)), want, tolerance,
                     text_of(name_of_kind(kind), ", ", name_of(shape)));
    }
  }

  static int64_t allocated_bytes() {
    return c10::cuda::CUDACachingAllocator::getDeviceStats(device().index())
        .allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
        .current;
  }

 private:
  static inline std::map<std::string, std::unique_ptr<Mesh>> meshes_;
};

TEST_F(StepNccl, every_mesh_gives_the_gradients_of_the_cpu_in_float64) {
  expect_gradients_of_the_cpu(odd_config(Dtype::float64), 1e-10);
}

TEST_F(StepNccl, every_mesh_gives_the_gradients_of_the_cpu_in_float32) {
  expect_gradients_of_the_cpu(odd_config(Dtype::float32), 1e-5);
}

// bfloat16 is held to what it costs one rank: its distance from float32 on the CPU.
TEST_F(StepNccl, gradients_in_bfloat16_are_as_near_to_float32_as_on_the_cpu) {
  const Alone alone;
  for (const auto kind : {flow::BatchKind::video, flow::BatchKind::image}) {
    const at::Tensor exact = flat(gradients(odd_config(Dtype::float32), kind, alone.mesh));
    const Config config = odd_config(Dtype::bfloat16);
    const double bound = distance(flat(gradients(config, kind, alone.mesh)), exact);
    EXPECT_LT(bound, 0.01) << name_of_kind(kind);
    for (const MeshShape& shape : meshes())
      EXPECT_LE(distance(flat(gradients(on_gpus(config), kind, gpus(shape))), exact), 1.2 * bound)
          << name_of_kind(kind) << ", " << name_of(shape);
  }
}

TEST_F(StepNccl, micro_batches_add_up) {
  Config config = odd_config(Dtype::float64);
  const Alone alone;
  const Outcome want = gradients(config, flow::BatchKind::video, alone.mesh);
  config.train.micro_batch = 1;
  for (const bool each : {false, true}) {
    config.parallel.reduce_each_micro_batch = each;
    for (const MeshShape& shape : meshes())
      expect_close(gradients(on_gpus(config), flow::BatchKind::video, gpus(shape)), want, 1e-10,
                   text_of(name_of(shape), " each ", each));
  }
}

TEST_F(StepNccl, prefetch_resharding_recompute_and_repetition_change_no_bit) {
  set_deterministic(true);
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const MeshShape& shape : meshes()) {
      const Mesh& mesh = gpus(shape);
      const Config config = on_gpus(odd_config(dtype));
      const Outcome want = gradients(config, flow::BatchKind::video, mesh);
      const auto expect_same = [&](const Config& changed, const std::string& what) {
        expect_same_bits(gradients(changed, flow::BatchKind::video, mesh), want,
                         text_of(name_of(shape), " ", name_of(dtype), " ", what));
      };
      expect_same(config, "again");
      Config changed = config;
      for (const int64_t prefetch : {0, 2, 100}) {
        changed.parallel.prefetch = prefetch;
        expect_same(changed, text_of("prefetch ", prefetch));
      }
      changed.parallel.reshard_after_forward = false;
      expect_same(changed, "kept");
      changed = config;
      changed.memory.policy = MemoryPolicy::full;
      expect_same(changed, "full recompute");
    }
}

TEST_F(StepNccl, a_step_leaves_nothing_behind_but_its_gradients) {
  for (const MeshShape& shape : meshes()) {
    const Mesh& mesh = gpus(shape);
    const Config config = on_gpus(odd_config(Dtype::bfloat16));
    MeshTrainee t(config, mesh);
    const flow::FlowBatch batch = latents(config, flow::BatchKind::video, t.begin, t.end);
    const auto run = [&] {
      t.step.forward_backward(batch);
      std::vector<at::Tensor> grads = t.model.fsdp().take_gradients();
      t.model.fsdp().release();
      return grads;
    };
    run();  // cuBLAS takes its workspace
    const int64_t before = allocated_bytes();
    std::vector<at::Tensor> grads = run();
    int64_t bytes = 0, pieces = 0;
    for (const at::Tensor& grad : grads) {
      bytes += static_cast<int64_t>(grad.nbytes());
      ++pieces;
    }
    const int64_t with_gradients = allocated_bytes();
    // Gradients of a unit are one piece with a few rows to spare, or have a block of 512 bytes more each.
    EXPECT_GE(with_gradients - before, bytes) << name_of(shape);
    EXPECT_LE(with_gradients - before, bytes + bytes / 4 + 512 * pieces) << name_of(shape);
    grads.clear();
    EXPECT_EQ(allocated_bytes(), before) << name_of(shape);
  }
}

TEST_F(StepNccl, a_step_reads_the_device_once) {
  const Config config = on_gpus(odd_config(Dtype::bfloat16));
  for (const MeshShape& shape : meshes()) {
    const Mesh& mesh = gpus(shape);
    MeshTrainee t(config, mesh);
    const flow::FlowBatch batch = latents(config, flow::BatchKind::video, t.begin, t.end);
    for (int64_t i = 0; i < 2; ++i) t.step.on_drawn(batch, kBatch, i);  // sets libraries up
    SyncCounter counter;
    t.step.on_drawn(batch, kBatch, 2);
    EXPECT_EQ(counter.count, 1) << name_of(shape) << "\n" << counter.places;
  }
}

TEST_F(StepNccl, training_follows_the_curve_of_the_cpu) {
  for (const Dtype dtype : {Dtype::float64, Dtype::float32}) {
    Config config = small_config(10, kBatch);
    config.numerics.dtype = dtype;
    const double tolerance = dtype == Dtype::float64 ? 1e-9 : 1e-4;
    const Alone alone;
    const Outcome want = trained(config, alone.mesh, 6);
    for (const MeshShape& shape : meshes()) {
      if (shape.context > 2) continue;  // two latent frames
      const Outcome got = trained(on_gpus(config), gpus(shape), 6);
      for (size_t i = 0; i < want.losses.size(); ++i)
        EXPECT_NEAR(got.losses[i], want.losses[i], tolerance * want.losses[i])
            << name_of(dtype) << ", " << name_of(shape) << ", step " << i;
    }
  }
}

}  // namespace orrery::test
