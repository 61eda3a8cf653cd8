// Recompute policies on a CUDA device: the bits of policy none, and blocks that are timed there.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "autograd/tape.h"
#include "base/numerics.h"
#include "base/rng.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"
#include "train/recompute.h"

namespace orrery {
namespace {

constexpr BlockShape kShape = {
    .batch = 1, .frames = 4, .rows = 8, .columns = 8, .times = 4, .text_tokens = 32};

class CudaRecompute : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    set_deterministic(true);
    net.materialize(at::kCUDA, at::kBFloat16);
    net.initialize(7);
  }
  void TearDown() override { set_deterministic(false); }

  std::vector<at::Tensor> gradients() {
    const auto random = [](const char* name, at::IntArrayRef shape) {
      return Variable(Rng(1, name).normal_tensor(shape).cuda());
    };
    DiTInput in;
    in.x = random("x", {1, 16, 4, 16, 16});
    in.timesteps = random("t", {1, 4});
    in.crossattn_emb = random("c", {1, 32, net.config.text_channels()});
    in.condition_mask = at::zeros({1, 1, 4, 16, 16}, at::kCUDA);
    Recording recording;
    const Variable v = net(in);
    recording.backward(ops::mean(ops::squared_error(v, random("y", v.shape()))));
    std::vector<at::Tensor> grads;
    for (Parameter* p : net.parameters()) grads.push_back(p->variable().slot()->take());
    return grads;
  }
  void expect_same(const std::vector<at::Tensor>& want, const std::string& what) {
    const std::vector<at::Tensor> got = gradients();
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(at::equal(got[i], want[i])) << what << ": " << net.parameters()[i]->key();
  }

  DiT net{dit_preset("tiny")};
};

TEST_F(CudaRecompute, gradients_are_the_same_bits_under_every_policy) {
  const std::vector<at::Tensor> want = gradients();
  for (int i = 1; i < static_cast<int>(MemoryPolicy::automatic); ++i) {
    const auto policy = static_cast<MemoryPolicy>(i);
    attach_recompute(net, policy);
    expect_same(want, std::string(name_of(policy)));
  }
}

TEST_F(CudaRecompute, auto_measures_a_block_fits_and_keeps_the_bits) {
  const std::vector<at::Tensor> want = gradients();
  const UnitTrace block = trace_block(net, kShape, 3);
  for (const TracedOp& op : block.ops) EXPECT_GT(op.seconds, 0) << op.label;
  const auto comm = single_rank_comm("alone");
  const double all = 4 * static_cast<double>(cost_without_recompute(block).kept_bytes);
  for (const double part : {0.9, 0.6}) {
    const std::string line = attach_auto_recompute(net, *comm, kShape, static_cast<int64_t>(part * all));
    EXPECT_THAT(line, testing::HasSubstr("runs again"));
    expect_same(want, line);
  }
}

}  // namespace
}  // namespace orrery
