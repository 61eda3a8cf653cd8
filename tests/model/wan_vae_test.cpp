// What golden cases do not see: that a film's division changes nothing, and what is refused.
#include "model/wan_vae.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "model/wan_vae_net.h"
#include "one_thread.h"

namespace orrery {
namespace {

using testing::HasSubstr;

template <class Run>
std::string refusal(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

class WanVaeOf : public testing::TestWithParam<at::ScalarType> {
 protected:
  const test::OneThread guard;
  const std::unique_ptr<WanVae> net = test::random_vae(GetParam());
  const Variable film{test::film_values({1, 3, 9, 8, 16}, GetParam())};
  const Variable latents{test::film_values({1, 16, 3, 1, 2}, GetParam())};

  static Variable frames(const Variable& x, int64_t begin, int64_t end) {
    return Variable(x.value().slice(2, begin, end));
  }
};

TEST_P(WanVaeOf, any_window_gives_the_bits_of_the_whole_film) {
  const at::Tensor encoded = net->encode(film, std::nullopt).value();
  EXPECT_EQ(encoded.sizes(), (at::IntArrayRef{1, 16, 3, 1, 2}));
  for (const int64_t window : {4, 8})
    EXPECT_TRUE(at::equal(net->encode(film, window).value(), encoded)) << window;
  const at::Tensor decoded = net->decode(latents, std::nullopt).value();
  EXPECT_EQ(decoded.sizes(), (at::IntArrayRef{1, 3, 9, 8, 16}));
  for (const int64_t window : {1, 2})
    EXPECT_TRUE(at::equal(net->decode(latents, window).value(), decoded)) << window;
}

TEST_P(WanVaeOf, a_film_that_arrives_in_parts_goes_on_from_its_cache) {
  FrameCache cache;
  const Variable first = net->encode_part(frames(film, 0, 5), cache);
  FrameCache snapshot = cache;
  const Variable second = net->encode_part(frames(film, 5, 9), cache);
  EXPECT_TRUE(at::equal(at::cat({first.value(), second.value()}, 2), net->encode(film, 4).value()));
  EXPECT_TRUE(at::equal(net->encode_part(frames(film, 5, 9), snapshot).value(), second.value()));

  FrameCache decoding;
  const Variable head = net->decode_part(frames(latents, 0, 2), decoding);
  const Variable tail = net->decode_part(frames(latents, 2, 3), decoding);
  EXPECT_TRUE(at::equal(at::cat({head.value(), tail.value()}, 2), net->decode(latents, 1).value()));
}

TEST_P(WanVaeOf, latents_depend_on_no_later_frame) {
  const at::Tensor whole = net->encode(film, 4).value();
  const at::Tensor prefix = net->encode(frames(film, 0, 5), 4).value();
  EXPECT_TRUE(at::equal(prefix, whole.narrow(2, 0, 2)));
  EXPECT_FALSE(at::equal(whole.narrow(2, 1, 1), whole.narrow(2, 2, 1)));
}

INSTANTIATE_TEST_SUITE_P(Types, WanVaeOf, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) { return std::string(c10::toString(type.param)); });

TEST(WanVae, attention_of_384_channels_agrees_with_float64) {
  const test::OneThread guard;
  struct Net final : Module {
    Net() : attention(this, "attention", 384) {}
    VaeAttention attention;
  };
  const auto run = [](at::ScalarType type) {
    Net net;
    net.materialize(at::kCPU, type);
    net.initialize(1);
    FrameCache cache;
    return net.attention(Variable(test::film_values({1, 384, 2, 5, 7}, type)), cache).value().to(at::kDouble);
  };
  const at::Tensor want = run(at::kDouble);
  EXPECT_LT(((run(at::kFloat) - want).norm() / want.norm()).item<double>(), 1e-6);
}

TEST(WanVae, films_that_do_not_fit_are_refused) {
  const test::OneThread guard;
  const auto net = test::random_vae(at::kFloat);
  const auto encoding = [&](at::IntArrayRef shape) {
    return refusal([&] { net->encode(Variable(test::film_values(shape, at::kFloat)), 4); });
  };
  EXPECT_THAT(encoding({1, 3, 8, 16, 16}), HasSubstr("8 frames, wanted 1 + 4 n"));
  EXPECT_THAT(encoding({1, 3, 5, 16, 20}), HasSubstr("16 x 20, wanted multiples of 8"));
  EXPECT_THAT(encoding({1, 4, 5, 16, 16}), HasSubstr("wanted (B,3,F,H,W)"));
  EXPECT_THAT(encoding({3, 5, 16, 16}), HasSubstr("wanted (B,3,F,H,W)"));
  const Variable film(test::film_values({1, 3, 9, 8, 8}, at::kFloat));
  EXPECT_THAT(refusal([&] { net->encode(film, 6); }),
              HasSubstr("windows of 6 frames, wanted multiples of 4"));
  EXPECT_THAT(refusal([&] { net->encode(film, 0); }), HasSubstr("window of 0"));
  EXPECT_THAT(refusal([&] { net->decode(film, 1); }), HasSubstr("wanted (B,16,T,h,w)"));
  FrameCache cache;
  net->encode_part(Variable(film.value().narrow(2, 0, 5)), cache);
  EXPECT_THAT(refusal([&] { net->encode_part(film, cache); }), HasSubstr("9 frames, wanted 4 n after"));
  const Variable wider(test::film_values({1, 3, 4, 8, 16}, at::kFloat));
  EXPECT_THAT(refusal([&] { net->encode_part(wider, cache); }), HasSubstr("history"));
}

TEST(WanVae, configs_and_halves_that_do_not_fit_are_refused) {
  const auto building = [](const WanVaeConfig& config) {
    return refusal([&] { WanVae(config, WanVaePart::both); });
  };
  EXPECT_THAT(building({.dim_mult = {1, 2}}), HasSubstr("3 entries in temporal_downsample"));
  EXPECT_THAT(building({.dim = 3}), HasSubstr("dim 3"));
  EXPECT_THAT(building({.z_dim = 0}), HasSubstr("z_dim 0"));
  EXPECT_THAT(building({.dim_mult = {1, 2, 4, int64_t{1} << 60}}), HasSubstr("in dim_mult"));
  const Variable film(test::film_values({1, 3, 1, 8, 8}, at::kFloat));
  const Variable latents(test::film_values({1, 16, 1, 1, 1}, at::kFloat));
  WanVae decoder({.dim = 4}, WanVaePart::decoder), encoder({.dim = 4}, WanVaePart::encoder);
  EXPECT_THAT(refusal([&] { decoder.encode(film, 4); }), HasSubstr("decoder alone"));
  EXPECT_THAT(refusal([&] { encoder.decode(latents, 1); }), HasSubstr("encoder alone"));
}

}  // namespace
}  // namespace orrery
