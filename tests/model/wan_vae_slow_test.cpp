// The released widths, for which convolutions and attention run other kernels than for those of small tests.
#include "model/wan_vae.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "model/wan_vae_net.h"

namespace orrery {
namespace {

TEST(WanVaeOfReleasedWidth, any_window_gives_the_bits_of_the_whole_film) {
  const auto net = test::random_vae(at::kFloat, WanVaeConfig().dim);
  const Variable film(test::film_values({1, 3, 9, 40, 32}, at::kFloat));
  const Variable latents = net->encode(film, std::nullopt);
  EXPECT_TRUE(at::equal(net->encode(film, 4).value(), latents.value()));
  const Variable decoded = net->decode(latents, std::nullopt);
  EXPECT_EQ(decoded.shape(), film.shape());
  EXPECT_TRUE(decoded.value().isfinite().all().item<bool>());
  EXPECT_TRUE(at::equal(net->decode(latents, 1).value(), decoded.value()));
}

}  // namespace
}  // namespace orrery
