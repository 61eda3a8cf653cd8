#include "ops/norm_rope.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace orrery {
namespace {

at::Tensor draw(std::string_view name, at::IntArrayRef shape, at::ScalarType type) {
  return Rng(3, name).normal_tensor(shape).to(type);
}

struct Outcome {
  at::Tensor y, dx, dweight;
};
// make: the heads of x and weight; whole: what it made as (B,S,n,d), and a gradient split likewise.
template <class Make>
Outcome outcome(at::ScalarType type, const HeadSplit& split, const Make& make) {
  const Variable x(draw("x", {2, 3, 12, 8}, type), true), weight(draw("weight", {8}, at::kFloat), true);
  Recording recording;
  const Variable y = make(x, weight);
  recording.backward({{y, split_heads(draw("dy", {2, 3, 12, 8}, type), split)}});
  return {joined_heads(y.value(), split), x.grad(), weight.grad()};
}

}  // namespace

TEST(RmsNormRope, has_the_bits_of_rms_norm_then_rope_however_it_is_split) {
  const at::Tensor angle = draw("angle", {3, 4}, at::kFloat), cos = angle.cos(), sin = angle.sin();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Outcome want = outcome(type, {}, [&](const Variable& x, const Variable& weight) {
      return ops::rope(ops::rms_norm(x, weight, 1e-6), cos, sin);
    });
    for (const HeadSplit split : {HeadSplit{}, HeadSplit{4, 1}, HeadSplit{1, 3}, HeadSplit{2, 3}}) {
      const Outcome got = outcome(type, split, [&](const Variable& x, const Variable& weight) {
        return ops::rms_norm_rope(x, weight, 1e-6, cos, sin, split);
      });
      EXPECT_TRUE(at::equal(got.y, want.y)) << type << split.receivers << split.groups;
      EXPECT_TRUE(at::equal(got.dx, want.dx)) << type << split.receivers << split.groups;
      EXPECT_TRUE(at::equal(got.dweight, want.dweight)) << type << split.receivers << split.groups;
    }
  }
}

TEST(RmsNormRope, split_heads_are_each_receivers_together) {
  const at::Tensor x = draw("x", {2, 3, 12, 8}, at::kFloat), parts = split_heads(x, {2, 3});
  ASSERT_EQ(parts.sizes(), (std::vector<int64_t>{3, 2, 2, 3, 2, 8}));
  EXPECT_TRUE(parts.is_contiguous());
  for (int64_t receiver = 0; receiver < 2; ++receiver) {  // gets heads 6 r to 6 r + 5, two a group
    const at::Tensor mine = at::cat({parts[0][receiver], parts[1][receiver], parts[2][receiver]}, 2);
    EXPECT_TRUE(at::equal(mine, x.narrow(2, 6 * receiver, 6)));
  }
}

TEST(RmsNormRope, says_what_does_not_fit) {
  const Variable x(draw("x", {2, 3, 4, 8}, at::kFloat)), weight(draw("weight", {8}, at::kFloat));
  const at::Tensor table = draw("angle", {3, 4}, at::kFloat), other = draw("angle", {2, 4}, at::kFloat);
  const auto message = [&](const at::Tensor& cos, const HeadSplit& split) {
    try {
      ops::rms_norm_rope(x, weight, 1e-6, cos, table, split);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(other, {}), testing::HasSubstr("tables [2, 4] and [3, 4] for x [2, 3, 4, 8]"));
  EXPECT_THAT(message(table, {3, 1}), testing::HasSubstr("4 heads for 3 receivers in 1 groups"));
}

}  // namespace orrery
