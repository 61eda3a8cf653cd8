#include "model/linear_tokenizer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

// Smooth moving waves with a little noise: most variance in few components, some in all.
at::Tensor film(uint64_t seed, int64_t frames = 9, int64_t height = 32, int64_t width = 48) {
  const Rng rng(seed, "film");
  const at::Tensor k = rng.normal_tensor({6, 1, 1, 1}) * 0.3;
  const at::Tensor phase = k[0] * at::arange(frames).view({-1, 1, 1}) +
                           k[1] * at::arange(height).view({-1, 1}) + k[2] * at::arange(width);
  const at::Tensor colors = rng.uniform_tensor({3, 1, 1, 1}) * 80;
  const at::Tensor noise = Rng(seed, "grain").normal_tensor({3, frames, height, width}) * 3;
  return (128 + colors * at::sin(phase) + noise).clamp(0, 255).to(at::kByte).unsqueeze(0);
}

// The leading components of one fit.
LinearTokenizer fitted(int64_t channels, double exponent) {
  static const LinearTokenizer::Basis whole = [] {
    LinearTokenizerFit fit;
    for (uint64_t seed = 0; seed < 24; ++seed) fit.add(film(seed));
    return fit.finish(LinearTokenizer::kBlock, 0).basis();
  }();
  return LinearTokenizer({whole.vectors.narrow(1, 0, channels).contiguous(), whole.mean,
                          whole.std.narrow(0, 0, channels).contiguous(), exponent});
}

double mean_square(const at::Tensor& x) {
  return x.to(at::kDouble).square().mean().item<double>();
}

}  // namespace

TEST(LinearTokenizer, all_channels_give_back_every_byte) {
  for (const double exponent : {0.0, 0.5, 1.0}) {
    const LinearTokenizer tokenizer = fitted(768, exponent);
    const at::Tensor noise = (Rng(1, "bytes").uniform_tensor({2, 3, 13, 16, 24}) * 256).to(at::kByte);
    EXPECT_TRUE(at::equal(tokenizer.decode(tokenizer.encode(noise)), noise)) << exponent;
    const at::Tensor image = film(99, 1);
    EXPECT_TRUE(at::equal(tokenizer.decode(tokenizer.encode(image)), image)) << exponent;
  }
}

TEST(LinearTokenizer, shapes_follow_the_contract) {
  const LinearTokenizer tokenizer = fitted(20, 0);
  const at::Tensor latents = tokenizer.encode(film(1, 13, 40, 24));
  EXPECT_EQ(latents.sizes(), (at::IntArrayRef{1, 20, 4, 5, 3}));
  EXPECT_EQ(latents.scalar_type(), at::kFloat);
  EXPECT_EQ(tokenizer.decode(latents).sizes(), (at::IntArrayRef{1, 3, 13, 40, 24}));
  EXPECT_EQ(tokenizer.latent_frames(93), 24);
  EXPECT_EQ(tokenizer.latent_frames(1), 1);
  EXPECT_EQ(tokenizer.pixel_frames(24), 93);
}

TEST(LinearTokenizer, latents_are_causal) {
  const LinearTokenizer tokenizer = fitted(20, 0);
  const at::Tensor a = film(1, 9);
  const at::Tensor b = at::cat({a.narrow(2, 0, 5), film(2, 4)}, 2);  // differs from frame 5 on
  const at::Tensor za = tokenizer.encode(a), zb = tokenizer.encode(b);
  EXPECT_TRUE(at::equal(za.narrow(2, 0, 2), zb.narrow(2, 0, 2)));
  EXPECT_FALSE(at::equal(za.narrow(2, 2, 1), zb.narrow(2, 2, 1)));
}

TEST(LinearTokenizer, scaling_by_exponent) {
  for (const double exponent : {0.0, 0.5, 1.0}) {
    const LinearTokenizer tokenizer = fitted(12, exponent);
    std::vector<at::Tensor> latents;
    for (uint64_t seed = 0; seed < 24; ++seed) latents.push_back(tokenizer.encode(film(seed)));
    const at::Tensor all = at::cat(latents), std = tokenizer.basis().std;
    const at::Tensor channel_variance = all.square().mean(at::IntArrayRef{0, 2, 3, 4});
    EXPECT_NEAR(mean_square(all), 1, 1e-3) << exponent;
    const double spread = (channel_variance.max() / channel_variance.min()).item<double>();
    const double ratio = (std.max() / std.min()).item<double>();
    EXPECT_GT(ratio, 2);
    EXPECT_NEAR(spread / std::pow(ratio, 2 - 2 * exponent), 1, 1e-2) << exponent;
  }
}

TEST(LinearTokenizer, at_exponent_zero_latent_error_is_pixel_error) {
  const LinearTokenizer tokenizer = fitted(768, 0);
  const at::Tensor a = film(50), b = film(51);
  const at::Tensor dz = (tokenizer.encode(a) - tokenizer.encode(b)).narrow(2, 1, 2);
  const at::Tensor dx = (a.to(at::kFloat) - b.to(at::kFloat)).narrow(2, 1, 8);
  const at::Tensor dz_other = (tokenizer.encode(a) - tokenizer.encode(film(52))).narrow(2, 1, 2);
  const at::Tensor dx_other = (a.to(at::kFloat) - film(52).to(at::kFloat)).narrow(2, 1, 8);
  EXPECT_NEAR(mean_square(dz) / mean_square(dx) / (mean_square(dz_other) / mean_square(dx_other)), 1, 1e-4);
}

TEST(LinearTokenizer, more_channels_never_lose_more_and_few_keep_most) {
  const at::Tensor truth = film(77);
  const auto error = [&](int64_t channels) {
    const LinearTokenizer tokenizer = fitted(channels, 0);
    return mean_square(tokenizer.decode(tokenizer.encode(truth)).to(at::kFloat) - truth.to(at::kFloat));
  };
  const double few = error(4), some = error(32), many = error(256);
  EXPECT_GT(few, some);
  EXPECT_GT(some, many);
  EXPECT_LT(some, 20);  // the grain alone has variance 9
}

TEST(LinearTokenizer, fit_sums_do_not_depend_on_order_batching_or_threads) {
  LinearTokenizerFit a, b;
  for (uint64_t seed = 0; seed < 4; ++seed) a.add(film(seed));
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  b.add(at::cat({film(3), film(1)}));
  b.add(at::cat({film(2), film(0)}));
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(a.products, b.products));
  EXPECT_TRUE(at::equal(a.sum, b.sum));
  EXPECT_TRUE(at::equal(a.count, b.count));
}

TEST(LinearTokenizer, tensors_bring_back_the_same_latents) {
  const LinearTokenizer tokenizer = fitted(16, 0.3);
  const LinearTokenizer loaded = LinearTokenizer::from_tensors(tokenizer.tensors());
  EXPECT_TRUE(at::equal(loaded.encode(film(5)), tokenizer.encode(film(5))));
}

TEST(LinearTokenizer, flat_films_neither_divide_by_zero_nor_change) {
  LinearTokenizerFit fit;
  const at::Tensor flat = at::zeros({1, 3, 5, 8, 8}, at::kByte) + 7;
  fit.add(flat.to(at::kByte));
  const LinearTokenizer::Basis basis = fit.finish(16, 0).basis();
  for (const double exponent : {0.0, 1.0}) {
    const LinearTokenizer tokenizer({basis.vectors, basis.mean, basis.std, exponent});
    const at::Tensor latents = tokenizer.encode(flat.to(at::kByte));
    EXPECT_LT(latents.abs().max().item<double>(), 1e-2);
    EXPECT_TRUE(at::equal(tokenizer.decode(latents), flat.to(at::kByte)));
  }
}

TEST(LinearTokenizer, refuses_films_that_do_not_fit) {
  const LinearTokenizer tokenizer = fitted(8, 0);
  const at::Tensor good = film(1);
  EXPECT_THROW(tokenizer.encode(good.narrow(2, 0, 8)), Error);   // 8 frames
  EXPECT_THROW(tokenizer.encode(good.narrow(3, 0, 31)), Error);  // 31 rows
  EXPECT_THROW(tokenizer.encode(good.narrow(4, 0, 0)), Error);   // no columns
  EXPECT_THROW(tokenizer.encode(good.to(at::kFloat)), Error);
  EXPECT_THROW(tokenizer.encode(good[0]), Error);
  EXPECT_THROW(tokenizer.latent_frames(0), Error);
  EXPECT_THROW(tokenizer.pixel_frames(0), Error);
  EXPECT_THROW(LinearTokenizerFit().add(good.narrow(2, 0, 8)), Error);
  EXPECT_THROW(LinearTokenizerFit().finish(8, 0), Error);
  const at::Tensor latents = tokenizer.encode(good);
  EXPECT_THROW(tokenizer.decode(latents.narrow(1, 0, 7)), Error);
  EXPECT_THROW(tokenizer.decode(latents * std::numeric_limits<double>::quiet_NaN()), Error);
}

TEST(LinearTokenizer, refuses_damaged_tensors) {
  const auto good = fitted(8, 0.5).tensors();
  const auto broken = [&](const std::string& name, const at::Tensor& value) {
    auto tensors = good;
    tensors[name] = value;
    EXPECT_THROW(LinearTokenizer::from_tensors(tensors), Error) << name;
  };
  broken("vectors", good.at("vectors") * 1.1);
  broken("vectors", good.at("vectors").narrow(0, 0, 767));
  broken("vectors", good.at("vectors").to(at::kDouble));
  broken("mean", good.at("mean").narrow(0, 0, 8));
  broken("mean", good.at("mean") / 0);
  broken("std", good.at("std").narrow(0, 0, 7));
  broken("std", -good.at("std"));
  broken("exponent", good.at("exponent") + 2);
  broken("exponent", good.at("std"));
  broken("exponent", at::Tensor());
}

}  // namespace orrery
