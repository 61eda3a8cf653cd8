// What the derivative checks of gradcheck_test.cpp do not see: history, zeros, strides, types, and that the
// bits of a frame do not depend on how a film is divided.
#include "ops/conv3d.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"
#include "ops/channel_norm.h"

namespace orrery {
namespace {

at::Tensor random(at::IntArrayRef shape, uint64_t number) {
  return Rng(8, "conv3d", {number}).normal_tensor(shape);
}

double max_error(const at::Tensor& got, const at::Tensor& want) {
  return (got.to(at::kDouble) - want.to(at::kDouble)).abs().max().item<double>();
}

struct Conv3d : testing::Test {
  const at::Tensor x = random({2, 5, 6, 7, 9}, 1), history = random({2, 5, 2, 7, 9}, 2),
                   weight = random({4, 5, 3, 3, 2}, 3) * 0.1, bias = random({4}, 4);
  const ConvGeometry geometry{.stride = {2, 1, 2}, .pad_before = {1, 0, 1}, .pad_after = {0, 2, 0}};

  static at::Tensor run(const at::Tensor& x, const at::Tensor& history, const at::Tensor& weight,
                        const at::Tensor& bias, const ConvGeometry& geometry) {
    const Variable before = history.defined() ? Variable(history) : Variable();
    return ops::conv3d(Variable(x), before, Variable(weight), Variable(bias), geometry).value();
  }
};

TEST_F(Conv3d, is_the_convolution_of_history_and_film_joined_with_zeros_around) {
  const at::Tensor padded = at::constant_pad_nd(at::cat({history, x}, 2), {1, 0, 0, 2, 1, 0});
  const at::Tensor want =
      at::conv3d(padded.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble), {2, 1, 2});
  EXPECT_LT(max_error(run(x, history, weight, bias, geometry), want), 1e-5);
  EXPECT_EQ(run(x, {}, weight, bias, geometry).size(2), 3);
}

TEST_F(Conv3d, half_types_are_summed_in_float32_and_rounded_once) {
  const auto half = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  const auto as_float = [&](const at::Tensor& t) { return half(t).to(at::kFloat); };
  const at::Tensor got = run(half(x), half(history), half(weight), half(bias), geometry);
  EXPECT_EQ(got.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(
      at::equal(got, half(run(as_float(x), as_float(history), as_float(weight), as_float(bias), geometry))));
}

TEST_F(Conv3d, bits_of_a_frame_do_not_depend_on_the_division_of_a_film) {
  const ConvGeometry valid;
  const at::Tensor film = random({1, 3, 12, 5, 7}, 5), w = random({6, 3, 3, 3, 3}, 6), b = random({6}, 7);
  const at::Tensor gamma = random({3}, 8);
  const at::Tensor whole = run(film, {}, w, b, valid);
  const at::Tensor normed = ops::channel_norm_silu(Variable(film), Variable(gamma)).value();
  for (const int64_t cut : {3, 4, 9}) {
    const at::Tensor first = film.narrow(2, 0, cut), rest = film.narrow(2, cut, 12 - cut);
    const at::Tensor parts =
        at::cat({run(first, {}, w, b, valid), run(rest, film.narrow(2, cut - 2, 2), w, b, valid)}, 2);
    EXPECT_TRUE(at::equal(parts, whole)) << cut;
    const auto norm = [&](const at::Tensor& t) {
      return ops::channel_norm_silu(Variable(t), Variable(gamma)).value();
    };
    EXPECT_TRUE(at::equal(at::cat({norm(first), norm(rest)}, 2), normed)) << cut;
  }
}

TEST_F(Conv3d, wrong_shapes_and_types_are_refused) {
  EXPECT_THROW(run(x.narrow(1, 0, 4), {}, weight, bias, geometry), Error);
  EXPECT_THROW(run(x, {}, weight.narrow(0, 0, 0), bias.narrow(0, 0, 0), geometry), Error);
  EXPECT_THROW(run(x, history.narrow(3, 0, 6), weight, bias, geometry), Error);
  EXPECT_THROW(run(x, history.to(at::kDouble), weight, bias, geometry), Error);
  EXPECT_THROW(run(x, history[0], weight, bias, geometry), Error);
  EXPECT_THROW(run(x, {}, weight, bias.narrow(0, 0, 3), geometry), Error);
  EXPECT_THROW(run(x, {}, weight.to(at::kDouble), bias, geometry), Error);
  EXPECT_THROW(run(x.narrow(2, 0, 1), {}, weight, bias, geometry), Error);  // 2 frames under 3 taps
  EXPECT_THROW(ops::channel_norm(Variable(x), Variable(bias)), Error);      // 5 channels, 4 numbers
  EXPECT_THROW(ops::channel_norm(Variable(x[0]), Variable(bias)), Error);
}

}  // namespace
}  // namespace orrery
