#include "plan/cost.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "model/layers.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/shape.h"

namespace orrery {
namespace {

// Round numbers: 1 TFLOP/s for products, 2 and 4 for attention, half of that with few keys; 1 GB/s.
Ceilings round_ceilings() {
  Ceilings c = read_ceilings("h100");
  c.matmul_float32_tflops = c.short_attention_forward_tflops = 1;
  c.attention_forward_tflops = c.short_attention_backward_tflops = 2;
  c.attention_backward_tflops = 4;
  c.deterministic_attention_backward_tflops = 3;
  c.memory_gb_per_s = 1e6;
  c.op_us = c.product_tail_us = 0;
  return c;
}

Variable meta(at::IntArrayRef shape, bool needs_grad = false) {
  return Variable(at::empty(shape, at::device(at::kMeta).dtype(at::kFloat)), needs_grad);
}

struct Costs {
  bool deterministic = false;
  PlanClock clock;
  MemoryMeter meter{at::kMeta};
  Ceilings ceilings = round_ceilings();
  OpCost cost{ceilings, clock, meter, deterministic};
  const Observing observing{cost};
};

TEST(OpCost, products_take_their_flops_in_both_directions) {
  Costs c;
  Recording recording;
  const Variable y = ops::linear(meta({1000, 1000}, true), meta({500, 1000}, true), {});
  EXPECT_NEAR(c.clock.now(), 1e9 / 1e12, 1e-9);
  recording.backward({{y, at::empty({1000, 500}, y.value().options())}});
  EXPECT_NEAR(c.clock.now(), 3e9 / 1e12, 1e-9);
  EXPECT_EQ(c.cost.tally().forward_flops, 1e9);
}

TEST(OpCost, each_product_has_a_tail) {
  Costs c;
  c.ceilings.product_tail_us = 1e6;
  Recording recording;
  const Variable y = ops::linear(meta({1000, 1000}, true), meta({500, 1000}, true), {});
  EXPECT_NEAR(c.clock.now(), 1 + 1e9 / 1e12, 1e-9);
  recording.backward({{y, at::empty({1000, 500}, y.value().options())}});
  EXPECT_NEAR(c.clock.now(), 3 + 3e9 / 1e12, 1e-9);
}

TEST(OpCost, attention_has_rates_for_many_and_for_few_keys) {
  Costs c;
  Recording recording;
  const auto seconds = [&](int64_t keys) {
    const double begin = c.clock.now();
    const Variable q = meta({1, 2048, 4, 64}, true);
    (void)ops::attention(q, meta({1, keys, 4, 64}), meta({1, keys, 4, 64}));
    return c.clock.now() - begin;
  };
  EXPECT_NEAR(seconds(2048), 4.0 * 2048 * 2048 * 256 / 2e12, 1e-9);
  EXPECT_NEAR(seconds(512), 4.0 * 2048 * 512 * 256 / 1e12, 1e-9);
}

TEST(OpCost, other_ops_take_their_bytes_and_at_least_a_launch_but_views_nothing) {
  Costs c;
  c.ceilings.memory_gb_per_s = 1;
  (void)ops::reshape(meta({1000, 1000}), {1000000});
  EXPECT_EQ(c.clock.now(), 0);
  (void)ops::gelu(meta({1000, 1000}));
  EXPECT_NEAR(c.clock.now(), 8e6 / 1e9, 1e-12);
  c.ceilings.op_us = 1e6;
  (void)ops::gelu(meta({1}));
  EXPECT_NEAR(c.clock.now(), 8e6 / 1e9 + 1, 1e-9);
}

TEST(OpCost, gradients_that_meet_are_added_up) {
  Costs c;
  c.ceilings.memory_gb_per_s = 1;
  Recording recording;
  const Variable x = meta({1000, 1000}, true);
  const Variable y = ops::gelu(x), z = ops::gelu(x);
  const double begin = c.clock.now();
  const at::Tensor d = at::empty({1000, 1000}, x.value().options());
  recording.backward({{y, d}, {z, d}});
  EXPECT_NEAR(c.clock.now() - begin, 2 * 12e6 / 1e9 + 12e6 / 1e9, 1e-9);  // gelu's are d, x and dx
}

struct Net final : Module {
  Net() : mlp(this, "blocks.12.mlp", 64, 256) {}
  Mlp mlp;
};

TEST(OpCost, recompute_takes_time_and_is_no_part_of_the_flops_and_labels_lose_their_numbers) {
  double flops[2];
  for (const bool recompute : {false, true}) {
    Costs c;
    Net net;
    net.materialize(at::kMeta, at::kFloat);
    if (recompute) net.mlp.save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
    Recording recording;
    recording.backward(ops::mean(net.mlp(meta({128, 64}))));
    flops[recompute] = c.cost.tally().forward_flops;
    EXPECT_EQ(c.cost.tally().recompute_s > 0, recompute);
    EXPECT_EQ(c.cost.tally().kept_bytes.contains("blocks.*.mlp.gelu"), !recompute);
  }
  EXPECT_EQ(flops[0], flops[1]);
  EXPECT_EQ(without_numbers("blocks.12.mlp.layer1.linear"), "blocks.*.mlp.layer1.linear");
}

TEST(OpCost, temporaries_of_fused_kernels_are_not_in_the_peak) {
  Costs c;
  const MemoryTag tag(MemoryUse::activations);
  Recording recording;
  const Variable q = meta({1, 64, 2, 32}, true);
  const int64_t before = c.meter.peak().total();
  const AttentionResult result = ops::attention_with_lse(q, q, q);
  EXPECT_EQ(c.meter.peak().total() - before,
            static_cast<int64_t>(result.out.value().nbytes() + result.lse.nbytes()));
}

struct AttentionBackward {
  double seconds;
  int64_t workspace;  // in the peak, with the gradients
};

// Of q (1,2048,4,width).
AttentionBackward attention_backward(bool deterministic, at::ScalarType dtype, int64_t keys,
                                     int64_t width = 64, bool is_tiled = true) {
  Costs c{.deterministic = deterministic};
  c.ceilings.tiled_attention_forward_tflops = is_tiled ? 7 : 0;
  c.ceilings.tiled_attention_backward_tflops = is_tiled ? 6 : 0;
  c.ceilings.deterministic_tiled_attention_backward_tflops = is_tiled ? 5 : 0;
  const auto heads = [&](int64_t tokens) {
    return Variable(at::empty({1, tokens, 4, width}, at::device(at::kMeta).dtype(dtype)), true);
  };
  Recording recording;
  const Variable out = ops::attention(heads(2048), heads(keys), heads(keys));
  const at::Tensor dout = at::empty(out.shape(), out.value().options());
  const double begin = c.clock.now();
  recording.backward({{out, dout}});
  return {c.clock.now() - begin, c.meter.peak()[MemoryUse::workspace]};
}

TEST(OpCost, deterministic_attention_has_a_rate_and_a_workspace_of_its_own_in_backward) {
  const auto quick = attention_backward(false, at::kBFloat16, 2048),
             fixed = attention_backward(true, at::kBFloat16, 2048);
  const double flops = 10.0 * 2048 * 2048 * 256;
  EXPECT_NEAR(quick.seconds, flops / 4e12, 1e-9);
  EXPECT_NEAR(fixed.seconds, flops / 3e12, 1e-9);
  constexpr int64_t kGradients = 3 * 2048 * 256 * 2;
  EXPECT_EQ(quick.workspace, kGradients + 2048 * 4 * (64 + 1) * 4);
  EXPECT_EQ(fixed.workspace, kGradients + 4 * 2048 * 2048 * 2);
}

TEST(OpCost, deterministic_attention_of_few_keys_is_no_slower_and_of_float32_is_as_ever) {
  const auto quick = attention_backward(false, at::kBFloat16, 500),
             fixed = attention_backward(true, at::kBFloat16, 500);
  EXPECT_EQ(fixed.seconds, quick.seconds);
  EXPECT_EQ(fixed.workspace - quick.workspace, 4 * 2048 * 512 * 2 - 2048 * 4 * (64 + 1) * 4);
  const auto exact = attention_backward(false, at::kFloat, 2048),
             fixed_exact = attention_backward(true, at::kFloat, 2048);
  EXPECT_EQ(fixed_exact.seconds, exact.seconds);
  EXPECT_EQ(fixed_exact.workspace, exact.workspace);
}

TEST(OpCost, attention_of_our_own_kernels_works_with_sums_of_dq_and_no_more_where_it_is_deterministic) {
  const auto workspace = [](bool deterministic, int64_t keys, int64_t width, bool is_tiled) {
    const int64_t gradients = (2048 + 2 * keys) * 4 * width * 2;
    return attention_backward(deterministic, at::kBFloat16, keys, width, is_tiled).workspace - gradients;
  };
  constexpr int64_t kSums = 2048 * 4 * (128 + 2) * 4;
  EXPECT_EQ(workspace(false, 4096, 128, true), kSums);
  EXPECT_EQ(workspace(true, 4096, 128, true), kSums);
  EXPECT_EQ(workspace(false, 4096, 128, false), 2048 * 4 * (128 + 1) * 4);
  EXPECT_EQ(workspace(true, 4096, 128, false), 4 * 2048 * 4096 * 2);
  EXPECT_EQ(workspace(true, 4000, 128, true), 4 * 2048 * 4096 * 2);  // too few keys; in whole 128
  EXPECT_EQ(workspace(false, 4096, 64, true), 2048 * 4 * (64 + 1) * 4);
}

TEST(OpCost, attention_of_our_own_kernels_has_rates_of_its_own) {
  const auto rate = [](bool deterministic, int64_t keys) {
    return 10.0 * 2048 * static_cast<double>(keys) * 4 * 128 /
           attention_backward(deterministic, at::kBFloat16, keys, 128).seconds;
  };
  EXPECT_NEAR(rate(false, 4096), 6e12, 1e3);
  EXPECT_NEAR(rate(true, 4096), 5e12, 1e3);
  EXPECT_NEAR(rate(false, 4095), 4e12, 1e3);
  EXPECT_NEAR(rate(true, 4095), 3e12, 1e3);
}

}  // namespace
}  // namespace orrery
