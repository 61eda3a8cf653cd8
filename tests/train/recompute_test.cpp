#include "train/recompute.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "autograd/observer.h"
#include "autograd/save_policy.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"
#include "parallel/comm.h"

namespace orrery {
namespace {

using Labels = std::vector<std::string>;

constexpr MemoryPolicy kSelective[] = {MemoryPolicy::mm_only,
                                       MemoryPolicy::linear_selfattn,
                                       MemoryPolicy::predict2_2b_720,
                                       MemoryPolicy::predict2_14b_720,
                                       MemoryPolicy::predict2_2b_720_aggressive,
                                       MemoryPolicy::predict2_14b_720_aggressive};
constexpr MemoryPolicy kFull[] = {MemoryPolicy::full, MemoryPolicy::block_wise,
                                  MemoryPolicy::predict2_2b_720_aggressive_v2};

std::vector<MemoryPolicy> all_but_none() {
  std::vector<MemoryPolicy> all(std::begin(kSelective), std::end(kSelective));
  all.insert(all.end(), std::begin(kFull), std::end(kFull));
  return all;
}

DiTInput random_input(const DiTConfig& c, bool is_image) {
  const int64_t frames = is_image ? 1 : 3;
  DiTInput in;
  in.is_image = is_image;
  in.x = Variable(Rng(1, "x").normal_tensor({2, c.in_channels, frames, 4, 6}));
  in.timesteps = Variable(Rng(1, "t").uniform_tensor({2, frames}) * 1000);
  in.crossattn_emb = Variable(Rng(1, "c").normal_tensor({2, 5, c.text_channels()}));
  in.condition_mask = at::Tensor(Rng(1, "m").uniform_tensor({2, 1, frames, 4, 6}).gt(0.5)).to(at::kFloat);
  return in;
}

std::unique_ptr<DiT> network(at::ScalarType type) {
  auto net = std::make_unique<DiT>(dit_preset("nano"));
  net->materialize(at::kCPU, type);
  for (Parameter* p : net->parameters()) {
    at::Tensor value = p->value();
    value.copy_(Rng(3, p->key()).normal_tensor(p->shape()) * 0.2);
  }
  return net;
}

// Labels of the ops that ran again.
struct Recomputed : OpObserver {
  void before(const OpCall& call) override {
    if (call.phase == OpPhase::recompute) labels.push_back(call.label());
  }
  Labels matching(std::string_view pattern) const {
    Labels found;
    for (const std::string& label : labels)
      if (matches_pattern(label, pattern)) found.push_back(label);
    return found;
  }
  Labels labels;
};

struct Pass {
  at::Tensor loss;
  std::vector<at::Tensor> grads;
  int64_t held_bytes;
  Recomputed again;
};

Pass train_once(DiT& net, const DiTInput& in) {
  Pass pass;
  Recording recording;
  const Variable v = net(in);
  const at::Tensor target = Rng(2, "target").normal_tensor(v.shape()).to(v.dtype());
  const Variable loss = ops::mean(ops::squared_error(v, Variable(target)));
  pass.loss = loss.value();
  pass.held_bytes = recording.tape().held_bytes();
  const Observing observing(pass.again);
  recording.backward(loss);
  for (Parameter* p : net.parameters()) pass.grads.push_back(p->variable().slot()->take());
  return pass;
}

class Recompute : public testing::TestWithParam<std::tuple<at::ScalarType, bool>> {};

TEST_P(Recompute, losses_and_gradients_are_the_same_bits_under_every_policy) {
  const auto [type, is_image] = GetParam();
  const auto net = network(type);
  const DiTInput in = random_input(net->config, is_image);
  const Pass kept = train_once(*net, in);
  EXPECT_THAT(kept.again.labels, testing::IsEmpty());
  for (const MemoryPolicy policy : all_but_none()) {
    attach_recompute(*net, policy);
    const Pass pass = train_once(*net, in);
    EXPECT_TRUE(at::equal(kept.loss, pass.loss)) << name_of(policy);
    for (size_t i = 0; i < kept.grads.size(); ++i)
      EXPECT_TRUE(at::equal(kept.grads[i], pass.grads[i]))
          << name_of(policy) << ": " << net->parameters()[i]->key();
  }
}

INSTANTIATE_TEST_SUITE_P(Batches, Recompute,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                                          testing::Bool()));

TEST(RecomputePolicy, selective_modes_hold_less_than_all_and_more_than_nothing) {
  const auto net = network(at::kBFloat16);
  const DiTInput in = random_input(net->config, false);
  const int64_t all = train_once(*net, in).held_bytes;
  attach_recompute(*net, MemoryPolicy::full);
  const int64_t least = train_once(*net, in).held_bytes;
  for (const MemoryPolicy policy : kSelective) {
    attach_recompute(*net, policy);
    const int64_t held = train_once(*net, in).held_bytes;
    EXPECT_LT(held, all) << name_of(policy);
    EXPECT_GT(held, least) << name_of(policy);
  }
  for (const MemoryPolicy policy : kFull) {
    attach_recompute(*net, policy);
    EXPECT_EQ(train_once(*net, in).held_bytes, least) << name_of(policy);
  }
  attach_recompute(*net, MemoryPolicy::none);
  EXPECT_EQ(train_once(*net, in).held_bytes, all);
}

// The linears of a block in the order in which the reference numbers its matmuls, from 1.
const Labels kMatmuls = {"adaln_modulation_self_attn.1",
                         "adaln_modulation_self_attn.2",
                         "adaln_modulation_cross_attn.1",
                         "adaln_modulation_cross_attn.2",
                         "adaln_modulation_mlp.1",
                         "adaln_modulation_mlp.2",
                         "self_attn.q_proj",
                         "self_attn.k_proj",
                         "self_attn.v_proj",
                         "self_attn.output_proj",
                         "cross_attn.q_proj",
                         "cross_attn.k_proj",
                         "cross_attn.v_proj",
                         "cross_attn.output_proj",
                         "mlp.layer1",
                         "mlp.layer2"};

Labels matmuls_but(int64_t first_kept, int64_t last_kept) {
  Labels labels;
  for (int64_t number = 1; number <= 16; ++number)
    if (number < first_kept || number > last_kept)
      labels.push_back("blocks.0." + kMatmuls[static_cast<size_t>(number - 1)] + ".linear");
  return labels;
}

TEST(RecomputePolicy, named_modes_run_again_what_the_reference_runs_again) {
  const std::string self = "blocks.0.self_attn.attention", cross = "blocks.0.cross_attn.attention";
  const struct {
    MemoryPolicy policy;
    Labels linears, attentions;
  } cases[] = {
      {MemoryPolicy::full, matmuls_but(0, 0), {self, cross}},
      {MemoryPolicy::block_wise, matmuls_but(0, 0), {self, cross}},
      {MemoryPolicy::mm_only, {}, {}},
      {MemoryPolicy::linear_selfattn, {}, {cross}},
      {MemoryPolicy::predict2_2b_720, matmuls_but(9, 15), {cross}},
      {MemoryPolicy::predict2_14b_720, matmuls_but(9, 15), {cross}},
      {MemoryPolicy::predict2_2b_720_aggressive, matmuls_but(0, 0), {}},
      {MemoryPolicy::predict2_2b_720_aggressive_v2, matmuls_but(0, 0), {self, cross}},
      {MemoryPolicy::predict2_14b_720_aggressive, matmuls_but(13, 15), {self, cross}},
  };
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto net = network(type);
    for (const auto& c : cases) {
      attach_recompute(*net, c.policy);
      const Recomputed again = train_once(*net, random_input(net->config, false)).again;
      EXPECT_THAT(again.matching("blocks.0.*.linear"), testing::UnorderedElementsAreArray(c.linears))
          << name_of(c.policy);
      EXPECT_THAT(again.matching("blocks.0.*.attention"), testing::UnorderedElementsAreArray(c.attentions))
          << name_of(c.policy);
    }
  }
}

TEST(RecomputePolicy, no_numbered_mode_keeps_a_matmul_of_the_final_layer) {
  const auto net = network(at::kBFloat16);
  attach_recompute(*net, MemoryPolicy::predict2_14b_720_aggressive);
  const Recomputed again = train_once(*net, random_input(net->config, false)).again;
  // The third is the layer's result, which outlives it.
  EXPECT_THAT(again.matching("final_layer.*.linear"),
              testing::UnorderedElementsAre("final_layer.adaln_modulation.1.linear",
                                            "final_layer.adaln_modulation.2.linear"));
}

TEST(RecomputePolicy, auto_is_no_fixed_set) {
  const auto net = network(at::kFloat);
  EXPECT_THROW(attach_recompute(*net, MemoryPolicy::automatic), Error);
}

// The nano network's block for random_input().
const BlockShape kVideo = {.batch = 2, .frames = 3, .rows = 2, .columns = 3, .times = 3, .text_tokens = 5};

// Times that depend on nothing but the op: as many seconds as operations and bytes.
UnitTrace reckoned_block(DiT& net) {
  UnitTrace block = trace_block(net, kVideo, 0);
  for (TracedOp& op : block.ops) op.seconds = 1e-9 * (op.flops / 10 + op.moved_bytes) + 1e-7;
  return block;
}

// Held by a recompute unit, which may have to make its modulations again, and by nobody else.
int64_t lora_bytes(const DiT& net) {
  const int64_t item = net.dtype() == at::kDouble ? 8 : 4;
  return kVideo.batch * kVideo.times * 3 * net.config.model_channels * item;
}

// What is held outside of the blocks is the same under every policy, so differences are theirs.
void expect_as_predicted(const UnitTrace& block, DiT& net, const RecomputeCost& cost, int64_t held_in_full,
                         const std::string& what) {
  const Pass pass = train_once(net, random_input(net.config, false));
  const int64_t more = cost.kept_bytes - cost_under(block, SavePolicy({})).kept_bytes;
  EXPECT_EQ(pass.again.matching("blocks.0.*").size(), static_cast<size_t>(cost.ops)) << what;
  EXPECT_EQ(pass.held_bytes - held_in_full, 2 * more) << what;
}

int64_t held_in_full_recompute(DiT& net) {
  attach_recompute(net, RecomputeChoice{.less = {}, .more = {}, .num_less = 2});
  return train_once(net, random_input(net.config, false)).held_bytes;
}

TEST(RecomputeCost, predicts_bytes_and_ops_of_a_real_backward_under_named_modes) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto net = network(type);
    const UnitTrace block = reckoned_block(*net);
    const int64_t held = held_in_full_recompute(*net);
    for (const MemoryPolicy policy : all_but_none()) {
      attach_recompute(*net, policy);
      net->final_layer.save_policy = nullptr;
      expect_as_predicted(block, *net, cost_under(block, SavePolicy(kept_labels(policy))), held,
                          std::string(name_of(policy)));
    }
    attach_recompute(*net, MemoryPolicy::none);
    expect_as_predicted(block, *net, cost_without_recompute(block), held - lora_bytes(*net), "none");
  }
}

TEST(RecomputeCost, predicts_bytes_and_ops_of_a_real_backward_under_chosen_sets) {
  const auto net = network(at::kBFloat16);
  const UnitTrace block = reckoned_block(*net);
  const std::vector<KeptSet> sets = best_sets(block);
  const int64_t held = held_in_full_recompute(*net);
  EXPECT_GT(sets.size(), 20u);
  for (size_t i = 0; i < sets.size(); i += sets.size() / 20) {
    attach_recompute(*net, RecomputeChoice{.less = sets[i], .more = {}, .num_less = 2});
    expect_as_predicted(block, *net, sets[i].cost, held - (sets[i].is_unit ? 0 : lora_bytes(*net)),
                        testing::PrintToString(sets[i].labels));
  }
}

TEST(RecomputeCost, nothing_held_is_missed) {
  const auto net = network(at::kBFloat16);
  const UnitTrace block = reckoned_block(*net);
  attach_recompute(*net, MemoryPolicy::mm_only);
  Recording recording;
  const Variable v = (*net)(random_input(net->config, false));
  int64_t blocks = 0;
  for (const auto& [label, bytes] : recording.tape().held_by_label())
    if (label.starts_with("blocks.*.")) blocks += bytes;
  EXPECT_EQ(blocks, 2 * cost_under(block, SavePolicy(kept_labels(MemoryPolicy::mm_only))).kept_bytes);
}

TEST(RecomputeCost, a_block_without_memory_has_the_same_ops) {
  DiT abstract(dit_preset("nano"));
  abstract.materialize(at::kMeta, at::kFloat);
  const UnitTrace got = trace_block(abstract, kVideo, 0), want = trace_block(*network(at::kFloat), kVideo, 0);
  ASSERT_EQ(got.ops.size(), want.ops.size());
  for (size_t i = 0; i < got.ops.size(); ++i) EXPECT_EQ(got.ops[i].label, want.ops[i].label);
  EXPECT_EQ(got.storage_bytes, want.storage_bytes);
}

TEST(AutoRecompute, shapes_without_tokens_and_choices_for_another_depth_are_refused) {
  const auto net = network(at::kFloat);
  BlockShape empty = kVideo, odd = kVideo;
  empty.rows = 0;
  odd.times = 2;
  EXPECT_THROW(trace_block(*net, empty, 0), Error);
  EXPECT_THROW(trace_block(*net, odd, 0), Error);
  EXPECT_THROW(attach_recompute(*net, RecomputeChoice{.less = {}, .more = {}, .num_less = 3}), Error);
}

TEST(AutoRecompute, keeps_the_bits_fits_the_budget_and_says_what_it_does) {
  const auto net = network(at::kFloat);
  const auto comm = single_rank_comm("alone");
  const DiTInput in = random_input(net->config, false);
  const Pass all = train_once(*net, in);
  const UnitTrace block = reckoned_block(*net);
  const int64_t most = 2 * cost_without_recompute(block).kept_bytes;
  EXPECT_THAT(attach_auto_recompute(*net, *comm, kVideo, most), testing::HasSubstr("blocks 0 to 1 keep all"));
  EXPECT_EQ(train_once(*net, in).held_bytes, all.held_bytes);
  for (const double part : {0.6, 0.75, 0.9}) {
    const auto budget = static_cast<int64_t>(part * static_cast<double>(most));
    const std::string line = attach_auto_recompute(*net, *comm, kVideo, budget);
    EXPECT_THAT(line, testing::HasSubstr("runs again"));
    const Pass pass = train_once(*net, in);
    EXPECT_LE(pass.held_bytes - all.held_bytes + most - lora_bytes(*net), budget) << line;
    EXPECT_TRUE(at::equal(pass.loss, all.loss));
    for (size_t i = 0; i < all.grads.size(); ++i) EXPECT_TRUE(at::equal(pass.grads[i], all.grads[i]));
  }
  try {
    attach_auto_recompute(*net, *comm, kVideo, 1000);
    ADD_FAILURE() << "fitted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::out_of_memory);
  }
}

}  // namespace
}  // namespace orrery
