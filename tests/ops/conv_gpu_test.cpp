// The kernels of the video autoencoder against their CPU twins: those that move numbers to the last bit,
// norms but for the order of float32 sums, convolutions and wide attention against float64.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "ops/channel_norm.h"
#include "ops/conv3d.h"
#include "ops/kernels.h"
#include "ops/upsample.h"

namespace orrery {
namespace {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

at::Tensor draw(uint64_t number, const Shape& shape, at::ScalarType type) {
  return Rng(2, "conv", {number}).normal_tensor(shape).to(type);
}
at::Tensor channels_last(const at::Tensor& x) {
  return x.cuda().contiguous(at::MemoryFormat::ChannelsLast3d);
}
// Largest relative error of one rounding to the type.
double rounding(at::ScalarType type) {
  return type == at::kBFloat16 ? 0x1p-8 : type == at::kHalf ? 0x1p-11 : 0x1p-24;
}
double largest_error(const at::Tensor& got, const at::Tensor& want) {
  return (got.cpu().to(at::kDouble) - want.to(at::kDouble)).abs().max().item<double>();
}
double largest(const at::Tensor& x) {
  return x.to(at::kDouble).abs().max().item<double>();
}

struct ConvKernels : testing::TestWithParam<at::ScalarType> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

// A norm that the order of its sum rounds up and not down moves all of a pixel's channels by one unit in the
// last place.
TEST_P(ConvKernels, channel_norm_is_the_twins_but_for_the_order_of_sums) {
  const at::ScalarType type = GetParam();
  for (const int64_t channels : {96, 192, 384, 8, 20})
    for (const bool has_silu : {false, true}) {
      const at::Tensor x = draw(1, {2, channels, 3, 5, 7}, type), gamma = draw(2, {channels, 1, 1, 1}, type);
      const at::Tensor want = cpu::channel_norm(x, gamma, has_silu);
      for (const at::Tensor& on_gpu : {channels_last(x), x.cuda()}) {
        const at::Tensor got = cuda::channel_norm(on_gpu, gamma.cuda(), has_silu, {}, {});
        EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast3d));
        EXPECT_LE(largest_error(got, want), 4 * rounding(type) * largest(want) + 1e-6)
            << channels << has_silu;
        const double differing = got.cpu().ne(want).to(at::kDouble).mean().item<double>();
        if (type != at::kFloat) {
          EXPECT_LT(differing, 0.05) << channels << has_silu;
        }
      }
      EXPECT_EQ(
          largest(cuda::channel_norm(channels_last(at::zeros_like(x)), gamma.cuda(), has_silu, {}, {}).cpu()),
          0)
          << "of zeros";
    }
}

TEST_P(ConvKernels, norm_and_upsampling_fill_the_middle_of_a_buffer) {
  const at::ScalarType type = GetParam();
  const Halo halo{.frames = 2, .above = 1, .below = 2};
  for (const int64_t channels : {96, 20}) {
    const at::Tensor x = channels_last(draw(3, {2, channels, 3, 5, 7}, type)),
                     gamma = draw(4, {channels}, type).cuda();
    for (const int64_t factor : {1, 2}) {
      const at::Tensor history = channels_last(draw(5, {2, channels, 1, 5 * factor + 3, 7 * factor}, type));
      const at::Tensor middle = factor == 1 ? cuda::channel_norm(x, gamma, true, {}, {})
                                            : cuda::upsample_nearest(x, factor, {}, {});
      const at::Tensor got = factor == 1 ? cuda::channel_norm(x, gamma, true, history, halo)
                                         : cuda::upsample_nearest(x, factor, history, halo);
      const at::Tensor want = kernels::halo_buffer(x, history, middle.sizes(), halo);
      want.narrow(2, 2, 3).narrow(3, 1, 5 * factor).copy_(middle);
      EXPECT_TRUE(at::equal(got, want)) << channels << " channels, factor " << factor;
      EXPECT_TRUE(at::equal(want.narrow(2, 0, 1), at::zeros_like(want.narrow(2, 0, 1))));
      EXPECT_TRUE(at::equal(want.narrow(2, 1, 1), history));
    }
  }
}

TEST_P(ConvKernels, what_moves_numbers_has_the_twins_bits) {
  const at::Tensor x = draw(6, {2, 32, 3, 5, 7}, GetParam());
  const auto up = [](const at::Tensor& t) { return ops::upsample_nearest(Variable(t), 2).value().cpu(); };
  const auto frames = [](const at::Tensor& t) {
    return ops::channels_to_frames(Variable(t), 2).value().cpu();
  };
  for (const at::Tensor& on_gpu : {channels_last(x), x.cuda()}) {
    EXPECT_TRUE(at::equal(up(on_gpu), up(x)));
    EXPECT_TRUE(at::equal(frames(on_gpu), frames(x)));
  }
}

struct ConvCase {
  std::string name;
  Shape x, weight;
  ConvGeometry geometry;
  int64_t history = 0;
};
const std::vector<ConvCase> kConvs{
    {"block", {1, 96, 6, 9, 16}, {96, 96, 3, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"batch", {2, 32, 6, 9, 16}, {64, 32, 3, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"shared rows", {1, 96, 6, 11, 16}, {96, 96, 3, 3, 3}, {.pad_before = {0, 0, 1}, .pad_after = {0, 0, 1}}},
    {"history", {1, 32, 4, 9, 16}, {32, 32, 3, 3, 3}, {.pad_before = {1, 1, 1}, .pad_after = {0, 1, 1}}, 1},
    {"pixels", {1, 3, 6, 9, 16}, {96, 3, 3, 3, 3}, {.pad_before = {2, 1, 1}, .pad_after = {0, 1, 1}}},
    {"to pixels", {1, 96, 6, 9, 16}, {3, 96, 3, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"latents", {1, 16, 6, 9, 16}, {384, 16, 3, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"down", {1, 96, 4, 10, 16}, {96, 96, 1, 3, 3}, {.stride = {1, 2, 2}, .pad_after = {0, 1, 1}}},
    {"down, shared rows",
     {1, 96, 4, 11, 16},
     {96, 96, 1, 3, 3},
     {.stride = {1, 2, 2}, .pad_after = {0, 0, 1}}},
    {"up", {2, 384, 4, 10, 16}, {192, 384, 1, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"time", {2, 96, 6, 9, 16}, {192, 96, 3, 1, 1}, {}},
    {"half the time", {1, 96, 7, 9, 16}, {96, 96, 3, 1, 1}, {.stride = {2, 1, 1}}},
    {"point", {2, 96, 5, 9, 16}, {192, 96, 1, 1, 1}, {}},
    // Tiles of our own kernel: several, cut off on both sides, of frames of two films; neighbours that end in
    // x.
    {"tiles", {2, 96, 5, 13, 70}, {192, 96, 3, 3, 3}, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"tiles of many outputs",
     {1, 192, 4, 7, 128},
     {384, 192, 3, 3, 3},
     {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"outputs that are widened",
     {1, 24, 4, 7, 20},
     {92, 24, 3, 3, 3},
     {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"tiles to pixels",
     {1, 96, 5, 13, 130},
     {3, 96, 3, 3, 3},
     {.pad_before = {2, 1, 1}, .pad_after = {0, 1, 1}}},
    {"tiles of pixels",
     {1, 3, 5, 25, 130},
     {96, 3, 3, 3, 3},
     {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}},
    {"tiles, shared rows",
     {1, 192, 4, 27, 66},
     {96, 192, 1, 3, 3},
     {.pad_before = {0, 0, 1}, .pad_after = {0, 1, 0}}},
};

TEST_P(ConvKernels, conv3d_is_the_twins_in_float64) {
  const at::ScalarType type = GetParam();
  for (const ConvCase& c : kConvs) {
    const at::Tensor x = draw(7, c.x, type), bias = draw(9, {c.weight[0]}, type);
    const double fan_in =
        static_cast<double>(c10::multiply_integers(c.weight)) / static_cast<double>(c.weight[0]);
    // Sums in float32 of so many terms walk away by about a rounding times the root of their number.
    const double of_sums = std::max(2e-6, 0x1p-24 * std::sqrt(fan_in));
    const at::Tensor weight = (draw(8, c.weight, at::kFloat) / std::sqrt(fan_in)).to(type);
    Shape before = c.x;
    before[2] = c.history;
    const at::Tensor history = c.history > 0 ? draw(10, before, type) : at::Tensor();
    const auto in_double = [](const at::Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
    const at::Tensor want =
        cpu::conv3d(in_double(x), in_double(history), in_double(weight), in_double(bias), c.geometry);
    const at::Tensor residual = draw(11, want.sizes().vec(), type);
    const auto on_gpu = [](const at::Tensor& t) { return t.defined() ? t.cuda() : t; };
    for (const bool is_last : {true, false})
      for (const bool has_residual : {false, true}) {
        const at::Tensor got =
            cuda::conv3d(is_last ? channels_last(x) : x.cuda(), on_gpu(history), weight.cuda(), bias.cuda(),
                         has_residual ? residual.cuda() : at::Tensor(), c.geometry);
        ASSERT_EQ(got.sizes(), want.sizes()) << c.name;
        const at::Tensor wanted = has_residual ? want + in_double(residual) : want;
        EXPECT_LE(largest_error(got, wanted), (3 * rounding(type) + of_sums) * largest(wanted))
            << c.name << (has_residual ? ", residual" : "") << "; " << cuda::fused_conv().last_refusal;
      }
  }
}

TEST_P(ConvKernels, attention_of_a_wide_head_is_the_twins_in_float64) {
  const at::ScalarType type = GetParam();
  for (const int64_t keys : {130, 64}) {
    // As the autoencoder has them: thirds of a pixel's channels.
    const at::Tensor qkv = draw(12, {2, 130, 1, 3 * 384}, type);
    const auto parts = qkv.chunk(3, -1);
    const at::Tensor q = parts[0], k = parts[1].narrow(1, 0, keys), v = parts[2].narrow(1, 0, keys);
    const auto d = [](const at::Tensor& t) { return t.to(at::kDouble).contiguous(); };
    const double scale = 1 / std::sqrt(384.0);
    const auto want = cpu::attention(d(q), d(k), d(v), scale);
    const auto on_gpu = qkv.cuda().chunk(3, -1);
    const auto got =
        cuda::attention(on_gpu[0], on_gpu[1].narrow(1, 0, keys), on_gpu[2].narrow(1, 0, keys), scale);
    EXPECT_LE(largest_error(got.out, want.out), (3 * rounding(type) + 2e-6) * largest(want.out)) << keys;
    EXPECT_LE(largest_error(got.lse, want.lse), 1e-4) << keys;
  }
  if (GetParam() != at::kFloat) {
    EXPECT_GT(cuda::fused_attention().by_products, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ConvKernels, testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& type) { return std::string(c10::toString(type.param)); });

TEST(ConvKernelsOfTheReleasedSizes, run_with_bias_and_residual_in_one_kernel) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const cuda::FusedConv before = cuda::fused_conv();
  const at::Tensor x = channels_last(draw(13, {1, 96, 6, 64, 64}, at::kBFloat16)),
                   weight = channels_last(draw(14, {96, 96, 3, 3, 3}, at::kBFloat16) * 0.02),
                   bias = draw(15, {96}, at::kBFloat16).cuda(), residual = x.narrow(2, 2, 4);
  cuda::conv3d(x, {}, weight, bias, residual, {.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}});
  const cuda::FusedConv after = cuda::fused_conv();
  EXPECT_EQ(after.refused, before.refused) << after.last_refusal;
  EXPECT_EQ(after.own + after.fused, before.own + before.fused + 1) << after.last_refusal;
}

// More elements than 32 bits count: the convolution goes in parts.
TEST(ConvKernelsOfTheReleasedSizes, tensors_of_more_than_2_31_elements_pass) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const ConvGeometry geometry{.pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}};
  const at::Tensor weight = channels_last(draw(16, {8, 8, 3, 3, 3}, at::kBFloat16) * 0.1);
  const at::Tensor x = at::empty({1, 8, 270, 1024, 1024}, weight.options(), at::MemoryFormat::ChannelsLast3d);
  x.normal_();
  const at::Tensor y = cuda::conv3d(x, {}, weight, {}, {}, geometry);
  for (const int64_t frame : {0, 134, 267}) {
    const at::Tensor want = cuda::conv3d(x.narrow(2, frame, 3), {}, weight, {}, {}, geometry);
    EXPECT_LE(largest_error(y.narrow(2, frame, 1), want.cpu()), 0x1p-7 * largest(want.cpu())) << frame;
  }
}

}  // namespace
}  // namespace orrery
