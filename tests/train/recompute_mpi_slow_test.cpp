#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "infer/world_model.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"
#include "parallel/agreement.h"
#include "parallel/fsdp.h"
#include "parallel/ulysses.h"
#include "train/parallelize.h"
#include "train/recompute.h"
#include "world.h"

namespace orrery {
namespace {

DiTConfig four_heads() {
  DiTConfig c = dit_preset("nano");
  c.num_heads = 4;
  return c;
}

// A network whose weights are split over all ranks, and its clips too: each has two frames of them.
struct SharedNet {
  SharedNet() : net(four_heads()), fsdp(comm, *alone, at::kCPU, {}) {
    const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm, true});
    for (const auto& block : net.blocks) {
      block->self_attn.attention = ulysses(group, ops::attention);
      fsdp.attach(*block, true);
    }
    fsdp.attach(net, false);
    net.materialize_buffers(at::kCPU, at::kFloat);
    fsdp.initialize(7);
  }

  std::vector<at::Tensor> train_once() {
    DiTInput in;
    const auto rank = static_cast<uint64_t>(comm.rank());
    in.x = Variable(Rng(1, "x", {rank}).normal_tensor({1, 16, 2, 4, 6}));
    in.timesteps = Variable(Rng(1, "t").uniform_tensor({1, 1}) * 1000);
    in.crossattn_emb = Variable(Rng(1, "c").normal_tensor({1, 5, net.config.text_channels()}));
    in.condition_mask = at::zeros({1, 1, 2, 4, 6});
    in.first_frame = 2 * comm.rank();
    Recording recording;
    const Variable v = net(in);
    const Variable loss = ops::mean(ops::squared_error(v, Variable(Rng(2, "y").normal_tensor(v.shape()))));
    recording.backward(loss);
    return fsdp.take_gradients();
  }

  Comm& comm = test_world().comm();
  std::unique_ptr<Comm> alone = single_rank_comm("alone");
  DiT net;
  Fsdp fsdp;
};

constexpr BlockShape kShape = {
    .batch = 1, .frames = 2, .rows = 2, .columns = 3, .times = 1, .text_tokens = 5};

TEST(AutoRecomputeMpi, ranks_choose_alike_on_split_weights_and_clips_and_keep_the_bits) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  SharedNet shared;
  const std::vector<at::Tensor> want = shared.train_once();
  const int64_t most = 2 * cost_without_recompute(trace_block(shared.net, kShape, 0)).kept_bytes;
  for (const double part : {1.0, 0.85, 0.7}) {
    // The smallest budget counts: those of the other ranks hold everything.
    const auto budget = static_cast<int64_t>(part * static_cast<double>(most)) + most * shared.comm.rank();
    const std::string line = attach_auto_recompute(shared.net, shared.comm, kShape, budget);
    require_agreement(shared.comm, "choice", line);
    EXPECT_EQ(line.find("blocks 0 to 1 keep all") != std::string::npos, part == 1.0) << line;
    const std::vector<at::Tensor> got = shared.train_once();
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(at::equal(got[i], want[i])) << shared.fsdp.parameters()[i]->key();
  }
}

// As the trainer makes it: what a block keeps is chosen among its exchanges, too.
TEST(AutoRecomputeMpi, a_network_made_parallel_is_traced_with_its_exchanges) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  Config c;
  c.model.preset = "nano";
  c.model.heads = 4;
  c.data.frames = 1 + 4 * (2 * test_world().size() - 1);
  c.parallel.context = test_world().size();
  const Mesh mesh(test_world(), {.replicate = 1, .shard = 1, .context = test_world().size()});
  DiT net(dit_config(c));
  const ParallelDiT parallel = parallelize_dit(net, mesh, c, at::kCPU);
  parallel.fsdp->initialize(7);
  std::vector<std::string> labels;
  for (const TracedOp& op : trace_block(net, kShape, 0).ops) labels.push_back(op.label);
  EXPECT_THAT(labels, testing::Contains("self_attn.ulysses_qkv"));
  EXPECT_THAT(labels, testing::Contains("self_attn.ulysses_out"));
}

TEST(AutoRecomputeMpi, every_rank_is_told_when_one_has_too_little) {
  if (test_world().size() > 4) GTEST_SKIP() << "two and four ranks say it";
  SharedNet shared;
  const int64_t budget = shared.comm.rank() == 1 ? 1000 : int64_t{1} << 40;
  EXPECT_THROW(attach_auto_recompute(shared.net, shared.comm, kShape, budget), Error);
}

}  // namespace
}  // namespace orrery
