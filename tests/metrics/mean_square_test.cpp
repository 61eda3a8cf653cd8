#include "metrics/mean_square.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {

TEST(LatentL2, is_the_mean_square_of_each_item_without_a_root) {
  const at::Tensor truth = at::zeros({2, 4, 3, 2, 2}), latents = truth.clone();
  latents[0].fill_(3);
  latents[1][2].fill_(2);  // a quarter of the item
  const at::Tensor found = latent_l2(latents, truth);
  EXPECT_EQ(found.scalar_type(), at::kDouble);
  EXPECT_DOUBLE_EQ(found[0].item<double>(), 9);
  EXPECT_DOUBLE_EQ(found[1].item<double>(), 1);
}

TEST(LatentL2, half_types_are_summed_in_double) {
  const at::Tensor truth = at::zeros({1, 100000}, at::kBFloat16);
  EXPECT_DOUBLE_EQ(latent_l2(at::full({1, 100000}, 0.5, at::kBFloat16), truth).item<double>(), 0.25);
}

TEST(LatentL2, refuses_what_cannot_be_compared) {
  const at::Tensor a = at::zeros({2, 3});
  EXPECT_THROW(latent_l2(a, a[0]), Error);
  EXPECT_THROW(latent_l2(a, a.to(at::kDouble)), Error);
  EXPECT_THROW(latent_l2(a.to(at::kByte), a.to(at::kByte)), Error);
  EXPECT_THROW(latent_l2(a.slice(0, 0, 0), a.slice(0, 0, 0)), Error);
}

}  // namespace orrery
