#include "model/wan_tokenizer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/wan_vae_net.h"
#include "one_thread.h"

namespace orrery {
namespace {

at::Tensor film(at::IntArrayRef shape) {
  return (Rng(6, "bytes").uniform_tensor(shape) * 256).to(at::kByte);
}

TEST(WanTokenizer, encodes_and_decodes_as_the_network_on_scaled_latents) {
  const test::OneThread guard;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto net = test::random_vae(type);
    const WanTokenizer tokenizer(test::random_vae(type), {.encode = 4, .decode = 1});
    const LatentScale scale = wan_latent_scale(type, at::kCPU);
    const at::Tensor video = film({2, 3, 5, 8, 16});
    const at::Tensor latents = tokenizer.encode(video);
    EXPECT_EQ(latents.scalar_type(), at::kFloat);
    const Variable mu = net->encode(Variable(values_of_pixels(video, type)), std::nullopt);
    EXPECT_TRUE(at::equal(latents, scale.normalise(mu).value().to(at::kFloat)));
    const Variable back = net->decode(scale.denormalise(Variable(latents.to(type))), std::nullopt);
    EXPECT_TRUE(at::equal(tokenizer.decode(latents), pixels_of_values(back.value())));
  }
}

TEST(WanTokenizer, films_latents_and_windows_that_do_not_fit_are_refused) {
  const test::OneThread guard;
  const WanTokenizer tokenizer(test::random_vae(at::kFloat), {});
  const at::Tensor good = film({1, 3, 5, 8, 16});
  EXPECT_THROW(tokenizer.encode(good.narrow(2, 0, 4)), Error);
  EXPECT_THROW(tokenizer.encode(good.narrow(4, 0, 12)), Error);
  EXPECT_THROW(tokenizer.encode(good.to(at::kFloat)), Error);
  const at::Tensor latents = at::zeros({1, 16, 2, 2, 2}, at::kFloat);
  EXPECT_THROW(tokenizer.decode(latents.narrow(1, 0, 15)), Error);
  EXPECT_THROW(tokenizer.decode(latents / 0), Error);
  EXPECT_THROW(WanTokenizer(test::random_vae(at::kFloat), {.encode = 6}), Error);
  EXPECT_THROW(WanTokenizer(test::random_vae(at::kFloat), {.decode = 0}), Error);
  EXPECT_THROW(WanTokenizer(test::random_vae(at::kHalf), {}), Error);
}

// Channels 0, 5 and 15 as bfloat16 numbers of the reference: mean, deviation, reciprocal of the deviation.
TEST(VideoValues, scale_holds_the_bfloat16_constants_in_every_type) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat, at::kDouble}) {
    const LatentScale scale = wan_latent_scale(type, at::kCPU);
    const auto at_channels = [](const at::Tensor& x) { return x.index_select(0, at::tensor({0, 5, 15})); };
    const at::Tensor mean = at::tensor({-0.7578125, 0.96484375, -0.29296875}),
                     inv_std = at::tensor({0.35546875, 0.5625, 0.5234375});
    EXPECT_TRUE(at::equal(at_channels(scale.mean), mean.to(type)));
    EXPECT_TRUE(at::equal(at_channels(scale.inv_std), inv_std.to(type)));
  }
  EXPECT_THROW(wan_latent_scale(at::kHalf, at::kCPU), Error);
}

TEST(VideoValues, every_grey_level_comes_back) {
  const at::Tensor levels = at::arange(256).to(at::kByte);
  EXPECT_TRUE(at::equal(pixels_of_values(values_of_pixels(levels, at::kFloat) + 1e-5), levels));
  EXPECT_TRUE(at::equal(pixels_of_values(at::tensor({-7.0, -1.0, 1.0, 3.0})),
                        at::tensor({0, 0, 255, 255}).to(at::kByte)));
  EXPECT_THROW(values_of_pixels(at::zeros({2}, at::kFloat), at::kFloat), Error);
}

}  // namespace
}  // namespace orrery
