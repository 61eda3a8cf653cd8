#include "base/rng.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/mean.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace orrery {

TEST(Rng, streams_with_other_names_or_numbers_differ_and_repeat_exactly) {
  const auto draw = [](uint64_t seed, std::string_view name, uint64_t number) {
    return Rng(seed, name, {number}).normal_tensor({64});
  };
  EXPECT_TRUE(at::equal(draw(1, "noise", 2), draw(1, "noise", 2)));
  EXPECT_FALSE(at::equal(draw(1, "noise", 2), draw(1, "noise", 3)));
  EXPECT_FALSE(at::equal(draw(1, "noise", 2), draw(2, "noise", 2)));
  EXPECT_FALSE(at::equal(draw(1, "noise", 2), draw(1, "time", 2)));
}

TEST(Rng, a_longer_tensor_begins_with_the_shorter_one) {
  const Rng rng(7, "noise");
  EXPECT_TRUE(at::equal(rng.normal_tensor({1003}), rng.normal_tensor({100003}).slice(0, 0, 1003)));
}

TEST(Rng, moments_of_normal_and_uniform) {
  const at::Tensor normal = Rng(3, "n").normal_tensor({1 << 20}),
                   uniform = Rng(3, "u").uniform_tensor({1 << 20});
  EXPECT_NEAR(normal.mean().item<double>(), 0, 5e-3);
  EXPECT_NEAR(normal.square().mean().item<double>(), 1, 5e-3);
  EXPECT_NEAR(normal.square().square().mean().item<double>(), 3, 5e-2);
  EXPECT_NEAR(uniform.mean().item<double>(), 0.5, 2e-3);
  EXPECT_LT(uniform.max().item<double>(), 1);
}

TEST(Rng, permutation_holds_every_index_once) {
  auto order = Rng(5, "order", {2}).permutation(1000);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace orrery
