// The blocked CPU kernel against attention written out, and the properties that everything else relies on.
#include "ops/attention.h"

#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "relative_error.h"

namespace orrery {
namespace {

at::Tensor random(at::IntArrayRef shape, uint64_t number) {
  return Rng(5, "attention", {number}).normal_tensor(shape);
}

using test::relative_error;

struct Case {
  int64_t batch, queries, keys, heads, dim;
};

TEST(Attention, agrees_with_the_definition_at_odd_sizes) {
  for (const Case c : {Case{1, 1, 1, 1, 2},
                       {2, 5, 7, 3, 4},
                       {1, 33, 130, 2, 32},
                       {3, 64, 1, 1, 128},
                       {1, 257, 257, 1, 40}}) {
    const at::Tensor q = random({c.batch, c.queries, c.heads, c.dim}, 1),
                     k = random({c.batch, c.keys, c.heads, c.dim}, 2),
                     v = random({c.batch, c.keys, c.heads, c.dim}, 3);
    const auto heads_first = [](const at::Tensor& x) { return x.to(at::kDouble).transpose(1, 2); };
    const at::Tensor scores =
        at::matmul(heads_first(q), heads_first(k).transpose(-1, -2)) / std::sqrt(static_cast<double>(c.dim));
    const at::Tensor want = at::matmul(at::softmax(scores, -1), heads_first(v)).transpose(1, 2);
    const AttentionResult got = ops::attention_with_lse(Variable(q), Variable(k), Variable(v));
    EXPECT_LT(relative_error(got.out.value(), want), 1e-6) << c.queries << " x " << c.keys;
    EXPECT_LT((got.lse.to(at::kDouble) - at::logsumexp(scores, {-1})).abs().max().item<double>(), 1e-5);
    const AttentionResult rounded = ops::attention_with_lse(
        Variable(q.to(at::kBFloat16)), Variable(k.to(at::kBFloat16)), Variable(v.to(at::kBFloat16)));
    EXPECT_LT(relative_error(rounded.out.value(), want), 1e-2);
    EXPECT_EQ(rounded.lse.scalar_type(), at::kFloat);
  }
}

TEST(Attention, large_scores_do_not_overflow) {
  const at::Tensor q = random({1, 4, 1, 8}, 1) * 1e3, k = random({1, 6, 1, 8}, 2) * 1e3,
                   v = random({1, 6, 1, 8}, 3);
  const AttentionResult got = ops::attention_with_lse(Variable(q), Variable(k), Variable(v));
  EXPECT_TRUE(got.out.value().isfinite().all().item<bool>());
  EXPECT_TRUE(got.lse.isfinite().all().item<bool>());
}

TEST(Attention, strided_inputs_give_the_same_result) {
  const at::Tensor qkv =
      random({2, 9, 3, 3, 8}, 4);  // q, k and v interleaved, as one projection would give them
  const auto part = [&](int64_t i) { return qkv.select(2, i); };
  const at::Tensor strided = ops::attention(Variable(part(0)), Variable(part(1)), Variable(part(2))).value();
  const at::Tensor packed = ops::attention(Variable(part(0).contiguous()), Variable(part(1).contiguous()),
                                           Variable(part(2).contiguous()))
                                .value();
  EXPECT_LT(relative_error(strided, packed), 1e-7);
}

TEST(Attention, heads_whose_numbers_are_not_adjacent_give_the_same_result) {
  const auto transposed = [](uint64_t number) {
    return random({2, 40, 1, 24}, number).permute({0, 3, 2, 1});
  };
  const at::Tensor q = transposed(1), k = transposed(2), v = transposed(3), dout = transposed(4);
  ASSERT_NE(q.stride(-1), 1);
  const auto run = [&](bool packed) {
    Variables in;
    for (const at::Tensor& x : {q, k, v}) in.emplace_back(packed ? x.contiguous() : x, true);
    Recording recording;
    const Variable out = ops::attention(in[0], in[1], in[2]);
    recording.backward({{out, packed ? dout.contiguous() : dout}});
    return Tensors{out.value(), in[0].grad(), in[1].grad(), in[2].grad()};
  };
  const Tensors got = run(false), want = run(true);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(relative_error(got[i], want[i]), 1e-6) << i;
}

TEST(Attention, wrong_shapes_and_types_are_refused) {
  const Variable q(random({1, 4, 2, 8}, 1)), k(random({1, 4, 2, 6}, 2));
  EXPECT_THROW(ops::attention(q, k, k), Error);
  EXPECT_THROW(ops::attention(q, q, Variable(q.value().to(at::kDouble))), Error);
}

}  // namespace
}  // namespace orrery
