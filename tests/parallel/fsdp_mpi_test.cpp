// Fsdp on real ranks: values and gradients of a small stack with odd and tiny parameters.
#include "parallel/fsdp.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "parallel/mesh.h"
#include "parallel/stack.h"
#include "world.h"

namespace orrery::test {
namespace {

constexpr uint64_t kSeed = 3;
constexpr int64_t kBatch = 12;

Mesh mesh_of(MeshShape shape) {
  Comm& comm = test_world().comm();
  return {comm, std::vector<int>(static_cast<size_t>(comm.size()), 0), shape};
}

std::vector<MeshShape> meshes() {
  const int n = test_world().size();
  std::vector<MeshShape> out;
  for (int shard = 1; shard <= n; shard *= 2) out.push_back({n / shard, shard, 1});
  return out;
}

at::Tensor samples(int64_t begin, int64_t end) {
  return Rng(kSeed, "samples").normal_tensor({kBatch, 6}).to(at::kDouble).slice(0, begin, end);
}

// Gradients by key, whole; undefined where a parameter is frozen.
using Gradients = std::map<std::string, at::Tensor>;

Gradients alone(bool frozen) {
  Stack stack;
  stack.materialize(at::kCPU, at::kDouble);
  stack.initialize(kSeed);
  if (frozen) stack.second.set_needs_grad(false);
  Recording recording;
  recording.backward(stack(samples(0, kBatch)));
  Gradients out;
  for (const Parameter* p : stack.parameters()) out[p->key()] = p->variable().grad();
  return out;
}

Gradients sharded(const Mesh& mesh, bool frozen, const FsdpConfig& config) {
  Stack stack;
  if (frozen) stack.second.set_needs_grad(false);
  Fsdp fsdp(mesh.shard(), mesh.replicate(), at::kCPU, config);
  attach_all(fsdp, stack);
  fsdp.initialize(kSeed);
  const int64_t share = kBatch / mesh.data().size(), begin = share * mesh.data().rank();
  {
    Recording recording;
    recording.backward(stack(samples(begin, begin + share).to(config.compute_dtype)));
  }
  const std::vector<at::Tensor> grads = fsdp.take_gradients();
  Gradients out;
  for (size_t i = 0; i < grads.size(); ++i) {
    ShardView view = fsdp.weights()[i];
    view.local = grads[i];
    out[view.name] = grads[i].defined() ? fsdp.whole(view).clone() : at::Tensor();
  }
  return out;
}

constexpr FsdpConfig kDouble{
    .shard_dtype = at::kDouble, .compute_dtype = at::kDouble, .reduce_dtype = at::kDouble};

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / (b.norm().item<double>() + 1e-30);
}

void expect_close(const Gradients& got, const Gradients& want, double tolerance) {
  for (const auto& [key, grad] : want) {
    ASSERT_EQ(got.at(key).defined(), grad.defined()) << key;
    if (!grad.defined()) continue;
    EXPECT_LE(distance(got.at(key), grad), tolerance) << key;
  }
}

TEST(FsdpMpi, gradients_are_those_of_the_whole_batch) {
  const Gradients want = alone(false);
  for (const MeshShape& shape : meshes()) expect_close(sharded(mesh_of(shape), false, kDouble), want, 1e-14);
}

TEST(FsdpMpi, frozen_parameters_are_gathered_and_have_no_gradient) {
  const Gradients want = alone(true);
  EXPECT_FALSE(want.at("second.weight").defined());
  EXPECT_TRUE(want.at("first.weight").defined()) << "gradients pass through";
  for (const MeshShape& shape : meshes()) expect_close(sharded(mesh_of(shape), true, kDouble), want, 1e-14);
}

TEST(FsdpMpi, bfloat16_weights_have_float32_sums_unless_asked) {
  const Gradients want = alone(false);
  for (const MeshShape& shape : meshes()) {
    const Mesh mesh = mesh_of(shape);
    FsdpConfig config{.compute_dtype = at::kBFloat16};
    expect_close(sharded(mesh, false, config), want, 2e-2);
    config.reduce_dtype = at::kBFloat16;
    expect_close(sharded(mesh, false, config), want, 3e-2);
  }
}

TEST(FsdpMpi, initial_values_do_not_depend_on_the_layout_and_only_own_rows_are_held) {
  Stack whole;
  whole.materialize(at::kCPU, at::kFloat);
  whole.initialize(kSeed);
  std::map<std::string, at::Tensor> want;
  for (const Parameter* p : whole.parameters()) want[p->key()] = p->value();
  for (const MeshShape& shape : meshes()) {
    const Mesh mesh = mesh_of(shape);
    Stack stack;
    Fsdp fsdp(mesh.shard(), mesh.replicate(), at::kCPU, {});
    attach_all(fsdp, stack);
    fsdp.initialize(kSeed);
    for (const ShardView& w : fsdp.weights()) {
      const RowRange rows = shard_rows(w.shape[0], mesh.shard().rank(), mesh.shard().size());
      EXPECT_EQ(w.begin, rows.begin);
      EXPECT_EQ(w.local.size(0), rows.size());
      EXPECT_TRUE(at::equal(w.local, want[w.name].slice(0, rows.begin, rows.end))) << w.name;
      EXPECT_TRUE(at::equal(fsdp.whole(w), want[w.name])) << w.name;
    }
  }
}

TEST(FsdpMpi, a_changed_shard_is_seen_by_the_next_forward) {
  const Mesh mesh = mesh_of({1, 0, 1});
  Stack stack;
  Fsdp fsdp(mesh.shard(), mesh.replicate(), at::kCPU, kDouble);
  attach_all(fsdp, stack, false);
  fsdp.initialize(kSeed);
  const at::Tensor x = samples(0, 2);
  Recording recording;  // without a recording nothing would stay gathered
  const double before = stack(x).value().item<double>();
  for (const ShardView& w : fsdp.weights()) at::Tensor(w.local).mul_(2);
  fsdp.release();
  const double after = stack(x).value().item<double>();
  EXPECT_GT(std::abs(after - before), 1e-3);
}

}  // namespace
}  // namespace orrery::test
