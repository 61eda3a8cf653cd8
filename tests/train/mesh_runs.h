#pragma once
// The same global batch on any mesh of the test's ranks: gradients of one step, or a few steps of training.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "infer/make_text_encoder.h"
#include "train/recompute.h"
#include "train/scene_batches.h"
#include "world.h"

namespace orrery::test {

inline constexpr int64_t kBatch = 8;

// Heads, widths, rows and frames that do not divide evenly by most numbers of ranks; as many latent frames as
// ranks.
inline Config odd_config(Dtype dtype) {
  const int64_t ranks = ::orrery::test_world().size();
  Config c = small_config(4, kBatch);
  c.numerics.dtype = dtype;
  c.data.frames = 1 + 4 * (ranks - 1);
  c.model.heads = ranks + 1;
  c.model.channels = 20 * c.model.heads;
  c.model.adaln_rank = 7;
  c.model.context_channels = 24;
  c.text.tokens = 5;
  return c;
}

// Samples [begin, end) of a global batch of latents, on the device of the run.
inline flow::FlowBatch latents(const Config& c, flow::BatchKind kind, int64_t begin, int64_t end) {
  const at::Device device = device_of(c.numerics, ::orrery::test_world().local_rank());
  const at::ScalarType dtype = c.numerics.dtype == Dtype::float64 ? at::kDouble : at::kFloat;
  const int64_t frames = kind == flow::BatchKind::image ? 1 : 1 + (c.data.frames - 1) / 4;
  const auto normal = [&](const char* purpose, at::IntArrayRef shape) {
    return Rng(5, purpose).normal_tensor(shape).to(dtype).slice(0, begin, end).to(device);
  };
  std::vector<int64_t> samples;
  for (int64_t i = begin; i < end; ++i) samples.push_back(i);
  const flow::TimeConfig time = flow::time_config(c.flow);
  flow::FlowBatch batch{.x0 = normal("x0", {kBatch, 16, frames, 6, 4}),
                        .noise = normal("noise", {kBatch, 16, frames, 6, 4}),
                        .times = flow::times_from_draws(time, flow::draw_times(time, 1, 0, samples)),
                        .text = normal("text", {kBatch, 5, 24}),
                        .kind = kind};
  if (kind == flow::BatchKind::video)
    batch.num_condition_frames = flow::num_condition_frames(
        flow::frame_law(c.flow), flow::draw_condition_frames(1, 0, samples), frames);
  return batch;
}

struct Outcome {
  std::vector<double> losses, norms;
  std::vector<at::Tensor>
      tensors;  // whole, in host memory of every rank: weights after the steps, or gradients
};

inline at::Tensor on_host(const at::Tensor& x) {
  return x.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
}

// A network on a mesh with its step, and this rank's samples [begin, end) of a global batch.
struct MeshTrainee {
  MeshTrainee(const Config& c, const Mesh& mesh)
      : model(c, mesh, ::orrery::test_world().local_rank()),
        tokenizer(scene_tokenizer(c.tokenizer.channels)),
        text(make_text_encoder(c, at::kCPU)),
        step(c, model.net, model.parallel, mesh, tokenizer, *text),
        begin(kBatch / mesh.data().size() * mesh.data().rank()),
        end(begin + kBatch / mesh.data().size()) {}

  SceneNetwork model;
  const LinearTokenizer tokenizer;
  const std::unique_ptr<TextEncoder> text;
  TrainStep step;
  const int64_t begin, end;
};

// Mean loss and gradients of the global batch.
inline Outcome gradients(const Config& config, flow::BatchKind kind, const Mesh& mesh) {
  MeshTrainee t(config, mesh);
  at::Tensor loss = t.step.forward_backward(latents(config, kind, t.begin, t.end));
  mesh.along({Axis::replicate, Axis::shard, Axis::context}).all_reduce(loss, ReduceOp::mean, "loss").wait();
  Outcome out;
  out.losses = {loss.item<double>()};
  const std::vector<at::Tensor> grads = t.model.fsdp().take_gradients();
  for (size_t i = 0; i < grads.size(); ++i) {
    ShardView view = t.model.fsdp().weights()[i];
    view.local = grads[i];
    out.tensors.push_back(on_host(t.model.fsdp().whole(view)));
  }
  return out;
}

// Losses, norms and weights of some steps of training.
inline Outcome trained(const Config& config, const Mesh& mesh, int64_t steps) {
  MeshTrainee t(config, mesh);
  Outcome out;
  for (int64_t i = 0; i < steps; ++i) {
    const StepResult result = t.step(scene_batch(i, t.begin, t.end), i);
    out.losses.push_back(result.loss);
    out.norms.push_back(result.grad_norm);
  }
  for (const ShardView& w : t.model.fsdp().weights()) out.tensors.push_back(on_host(t.model.fsdp().whole(w)));
  return out;
}

struct Alone {
  std::unique_ptr<Comm> comm = single_rank_comm("alone");
  Mesh mesh{*comm, {0}, {}};
};

// All ranks on one node, in the order of comm, which has all of them.
inline Mesh mesh_of(MeshShape shape, Comm& comm = ::orrery::test_world().comm()) {
  return {comm, std::vector<int>(static_cast<size_t>(comm.size()), 0), shape};
}

inline double distance(const at::Tensor& a, const at::Tensor& b) {
  const double size = b.to(at::kDouble).norm().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / (size + 1e-30);
}

inline void expect_close(const Outcome& got, const Outcome& want, double tolerance, const std::string& what) {
  for (size_t i = 0; i < want.losses.size(); ++i)
    EXPECT_NEAR(got.losses[i], want.losses[i], tolerance * want.losses[i]) << what << ", step " << i;
  for (size_t i = 0; i < want.norms.size(); ++i)
    EXPECT_NEAR(got.norms[i], want.norms[i], tolerance * want.norms[i]) << what << ", step " << i;
  for (size_t i = 0; i < want.tensors.size(); ++i)
    EXPECT_LE(distance(got.tensors[i], want.tensors[i]), tolerance) << what << ", tensor " << i;
}

inline void expect_same_bits(const Outcome& got, const Outcome& want, const std::string& what) {
  EXPECT_EQ(got.losses, want.losses) << what;
  EXPECT_EQ(got.norms, want.norms) << what;
  for (size_t i = 0; i < want.tensors.size(); ++i)
    EXPECT_TRUE(at::equal(got.tensors[i], want.tensors[i])) << what << ", tensor " << i;
}

inline std::vector<MeshShape> meshes() {
  const int n = ::orrery::test_world().size();
  std::vector<MeshShape> out;
  for (int context = 1; context <= n; ++context)
    for (int shard = 1; n % context == 0 && shard <= n / context; ++shard)
      if (n / context % shard == 0) out.push_back({n / context / shard, shard, context});
  return out;
}

inline std::string name_of(const MeshShape& m) {
  return text_of("replicate ", m.replicate, " shard ", m.shard, " context ", m.context);
}

}  // namespace orrery::test
