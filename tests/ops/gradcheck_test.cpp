// Every op in double: central difference, adjoint identity to 1e-10, jvp (autograd/gradcheck.h).
#include "autograd/gradcheck.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "ops/activation.h"
#include "ops/adaln.h"
#include "ops/attention.h"
#include "ops/biased_attention.h"
#include "ops/channel_norm.h"
#include "ops/conv3d.h"
#include "ops/conv_input.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/norm.h"
#include "ops/norm_rope.h"
#include "ops/reduce.h"
#include "ops/rope.h"
#include "ops/shape.h"
#include "ops/upsample.h"

namespace orrery {
namespace {

at::Tensor random(at::IntArrayRef shape, uint64_t number) {
  return Rng(11, "test", {number}).normal_tensor(shape).to(at::kDouble);
}

using V = const Variables&;

TEST(Gradcheck, adaln_with_per_frame_modulation) {
  for (const int64_t frames : {1, 3})
    gradcheck([](V in) { return Variables{ops::adaln(in[0], in[1], in[2], 1e-6)}; },
              {random({2, 3, 2, 2, 7}, 1), random({2, frames, 1, 1, 7}, 2), random({2, frames, 1, 1, 7}, 3)});
}

TEST(Gradcheck, gated_add) {
  gradcheck([](V in) { return Variables{ops::gated_add(in[0], in[1], in[2])}; },
            {random({2, 3, 2, 1, 5}, 1), random({2, 1, 1, 1, 5}, 2), random({2, 3, 2, 1, 5}, 3)});
}

TEST(Gradcheck, rms_norm) {
  gradcheck([](V in) { return Variables{ops::rms_norm(in[0], in[1], 1e-6)}; },
            {random({3, 4, 2, 6}, 1), random({6}, 2)});
}

TEST(Gradcheck, rope) {
  const at::Tensor angle = random({5, 3}, 9);
  gradcheck([&](V in) { return Variables{ops::rope(in[0], angle.cos(), angle.sin())}; },
            {random({2, 5, 2, 6}, 1)});
}

TEST(Gradcheck, rms_norm_rope_whole_and_split) {
  const at::Tensor angle = random({5, 3}, 9);
  for (const HeadSplit split : {HeadSplit{}, HeadSplit{.receivers = 2, .groups = 3}})
    gradcheck(
        [&](V in) {
          return Variables{ops::rms_norm_rope(in[0], in[1], 1e-6, angle.cos(), angle.sin(), split)};
        },
        {random({2, 5, 6, 6}, 1), random({6}, 2)});
}

TEST(Gradcheck, attention_of_unequal_lengths) {
  gradcheck([](V in) { return Variables{ops::attention(in[0], in[1], in[2])}; },
            {random({2, 5, 3, 4}, 1), random({2, 7, 3, 4}, 2), random({2, 7, 3, 4}, 3)});
}

TEST(Gradcheck, biased_attention_with_shared_key_heads) {
  for (const int64_t key_heads : {1, 2, 4})
    gradcheck([](V in) { return Variables{ops::biased_attention(in[0], in[1], in[2], in[3], 0.7)}; },
              {random({2, 5, 4, 6}, 1), random({2, 3, key_heads, 6}, 2), random({2, 3, key_heads, 6}, 3),
               random({key_heads == 2 ? 1 : 4, 5, 3}, 4)});
}

TEST(Gradcheck, causal_attention) {
  const Variable bias(ops::causal_bias(5, at::kDouble));
  gradcheck([&](V in) { return Variables{ops::biased_attention(in[0], in[1], in[2], bias, 0.5)}; },
            {random({2, 5, 2, 4}, 1), random({2, 5, 2, 4}, 2), random({2, 5, 2, 4}, 3)});
}

TEST(Gradcheck, linear_with_and_without_bias) {
  gradcheck([](V in) { return Variables{ops::linear(in[0], in[1], in[2])}; },
            {random({2, 3, 5}, 1), random({4, 5}, 2), random({4}, 3)});
  gradcheck([](V in) { return Variables{ops::linear(in[0], in[1])}; },
            {random({6, 5}, 1), random({1, 5}, 2)});
}

TEST(Gradcheck, activations) {
  gradcheck(
      [](V in) {
        return Variables{ops::gelu(in[0]), ops::silu(in[0]), ops::relu(in[0])};
      },
      {random({17}, 1)});
}

TEST(Gradcheck, elementwise_with_broadcast) {
  gradcheck(
      [](V in) {
        return Variables{ops::add(in[0], in[1]), ops::sub(in[0], in[1]), ops::mul(in[0], in[1])};
      },
      {random({2, 1, 3}, 1), random({4, 1}, 2)});
  gradcheck([](V in) { return Variables{ops::div(in[0], in[1])}; },
            {random({2, 1, 3}, 1), random({4, 1}, 2).abs() + 1});
  gradcheck(
      [](V in) {
        return Variables{ops::scale(in[0], -1.5), ops::cast(in[0], at::kDouble)};
      },
      {random({5}, 1)});
  const at::Tensor mask = random({2, 1, 3, 1, 1}, 7).gt(0);
  gradcheck([&](V in) { return Variables{ops::blend(in[0], in[1], mask)}; },
            {random({2, 4, 3, 2, 2}, 1), random({2, 4, 3, 2, 2}, 2)});
}

TEST(Gradcheck, shape_ops) {
  gradcheck(
      [](V in) {
        return Variables{ops::reshape(in[0], {4, -1}), ops::slice(in[0], 1, 1, 3)};
      },
      {random({2, 4, 3}, 1)});
  gradcheck(
      [](V in) {
        return Variables{ops::rearrange(in[0], {2, 3, 2, 4}, {2, 0, 3, 1}, {4, 12})};
      },
      {random({6, 8}, 1)});
  gradcheck(
      [](V in) {
        const Variables parts = ops::chunk(in[0], 3, -1);
        return Variables{parts[0],
                         ops::concat({parts[2], in[1]}, 0)};  // parts[1] is unused: its gradient is zero
      },
      {random({2, 6}, 1), random({1, 2}, 2)});
}

TEST(Gradcheck, conv3d_with_history_and_without) {
  const ConvGeometry causal{.pad_before = {1, 1, 1}, .pad_after = {0, 1, 1}};
  const ConvGeometry strided{.stride = {2, 2, 1}, .pad_before = {0, 0, 1}, .pad_after = {0, 1, 0}};
  for (const ConvGeometry& geometry : {causal, strided})
    gradcheck(
        [&](V in) { return Variables{ops::conv3d(in[0], in[1], in[2], in[3], geometry)}; },
        {random({2, 3, 2, 4, 3}, 1), random({2, 3, 1, 4, 3}, 2), random({4, 3, 3, 3, 2}, 3), random({4}, 4)});
  gradcheck([&](V in) { return Variables{ops::conv3d(in[0], Variable(), in[1], Variable(), causal)}; },
            {random({1, 2, 3, 2, 3}, 1), random({3, 2, 3, 3, 3}, 2)});
}

TEST(Gradcheck, channel_norm) {
  gradcheck(
      [](V in) {
        return Variables{ops::channel_norm(in[0], in[1]), ops::channel_norm_silu(in[0], in[1])};
      },
      {random({2, 5, 2, 1, 3}, 1), random({5, 1, 1, 1}, 2)});
}

TEST(Gradcheck, upsample_nearest) {
  gradcheck([](V in) { return Variables{ops::upsample_nearest(in[0], 2)}; }, {random({1, 2, 2, 3, 1}, 1)});
}

TEST(Gradcheck, channels_to_frames) {
  gradcheck([](V in) { return Variables{ops::channels_to_frames(in[0], 2)}; }, {random({1, 4, 3, 2, 1}, 1)});
}

TEST(Gradcheck, with_halo_with_history_and_without) {
  const Halo halo{.frames = 3, .above = 1, .below = 2};
  gradcheck([&](V in) { return Variables{ops::with_halo(in[0], {.history = in[1], .halo = halo})}; },
            {random({1, 2, 3, 4, 2}, 1), random({1, 2, 2, 7, 2}, 2)});
  gradcheck([&](V in) { return Variables{ops::with_halo(in[0], {.halo = halo})}; },
            {random({1, 2, 3, 4, 2}, 1)});
}

TEST(Gradcheck, timestep_embedding) {
  gradcheck([](V in) { return Variables{ops::timestep_embedding(in[0], 10)}; }, {random({2, 3}, 1)});
}

TEST(Gradcheck, embedding) {
  const at::Tensor ids = at::tensor({2, 0, 2, 4}, at::kLong).view({2, 2});
  gradcheck([&](V in) { return Variables{ops::embedding(ids, in[0])}; }, {random({5, 3}, 1)});
}

TEST(Gradcheck, losses_and_reductions) {
  gradcheck([](V in) { return Variables{ops::squared_error(in[0], in[1])}; },
            {random({3, 4, 2}, 1), random({3, 4, 2}, 2)});
  gradcheck([](V in) { return Variables{ops::sum(in[0]), ops::mean(in[0])}; }, {random({3, 4}, 1)});
}

TEST(Gradcheck, a_wrong_derivative_is_found) {
  const auto broken = [](V in) { return Variables{ops::add(in[0], in[1].detached())}; };
  EXPECT_THROW(gradcheck(broken, {random({3}, 1), random({3}, 2)}), std::exception);
}

}  // namespace
}  // namespace orrery
