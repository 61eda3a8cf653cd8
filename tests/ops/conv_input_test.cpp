// What the derivative checks of gradcheck_test.cpp do not see: where things lie, and what is refused.
#include "ops/conv_input.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"
#include "ops/channel_norm.h"
#include "ops/upsample.h"

namespace orrery {
namespace {

at::Tensor random(at::IntArrayRef shape, uint64_t number) {
  return Rng(8, "conv_input", {number}).normal_tensor(shape);
}

struct ConvInput : testing::Test {
  const at::Tensor x = random({1, 4, 3, 5, 2}, 1), history = random({1, 4, 1, 8, 2}, 2);
  const Halo halo{.frames = 2, .above = 1, .below = 2};
};

TEST_F(ConvInput, lies_in_the_middle_of_zeros_and_history) {
  const at::Tensor y = ops::with_halo(Variable(x), {.history = Variable(history), .halo = halo}).value();
  ASSERT_EQ(y.sizes(), (at::IntArrayRef{1, 4, 5, 8, 2}));
  EXPECT_TRUE(at::equal(y.narrow(2, 2, 3).narrow(3, 1, 5), x));
  EXPECT_TRUE(at::equal(y.narrow(2, 1, 1), history));
  for (const at::Tensor& zeros :
       {y.narrow(2, 0, 1), y.narrow(2, 2, 3).narrow(3, 0, 1), y.narrow(2, 2, 3).narrow(3, 6, 2)})
    EXPECT_EQ(zeros.count_nonzero().item<int64_t>(), 0);
}

TEST_F(ConvInput, norm_and_upsampling_have_the_bits_of_their_own_ops) {
  const Variable gamma(random({4}, 3)), before(history), in(x);
  const ops::Around around{.history = before, .halo = halo};
  EXPECT_TRUE(at::equal(ops::channel_norm_silu_with_halo(in, gamma, around).value(),
                        ops::with_halo(ops::channel_norm_silu(in, gamma), around).value()));
  EXPECT_TRUE(at::equal(ops::upsample_nearest_with_halo(in, 2, {.halo = halo}).value(),
                        ops::with_halo(ops::upsample_nearest(in, 2), {.halo = halo}).value()));
}

TEST_F(ConvInput, histories_that_do_not_fit_are_refused) {
  const auto with = [&](const at::Tensor& before) {
    return ops::with_halo(Variable(x), {.history = Variable(before), .halo = halo});
  };
  EXPECT_THROW(with(random({1, 4, 1, 5, 2}, 4)), Error);  // without its rows
  EXPECT_THROW(with(random({1, 4, 3, 8, 2}, 5)), Error);  // more frames than the halo has
  EXPECT_THROW(with(history.to(at::kDouble)), Error);
  EXPECT_THROW(with(history[0]), Error);
  EXPECT_THROW(ops::with_halo(Variable(x[0]), {.halo = halo}), Error);
  EXPECT_THROW(ops::with_halo(Variable(x), {.halo = {.frames = -1}}), Error);
}

}  // namespace
}  // namespace orrery
