#include "metrics/psnr.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "data/demo_render.h"

namespace orrery {

TEST(Psnr, known_values_for_each_clip) {
  const at::Tensor truth = at::full({3, 2, 8, 8, 3}, 100, at::kByte);
  at::Tensor film = truth.clone();
  film[1].fill_(110);
  film[2].fill_(90);
  film[2][1].fill_(100);  // half the clip is right
  const at::Tensor found = psnr(film, truth);
  EXPECT_TRUE(std::isinf(found[0].item<double>()));
  EXPECT_NEAR(found[1].item<double>(), 20 * std::log10(25.5), 1e-9);
  EXPECT_NEAR(found[2].item<double>(), 20 * std::log10(25.5) + 10 * std::log10(2), 1e-9);
  const at::Tensor black = at::zeros({1, 4}, at::kByte);
  EXPECT_NEAR(psnr(black, black + 255).item<double>(), 0, 1e-12);
}

TEST(Psnr, refuses_what_cannot_be_compared) {
  const at::Tensor film = at::zeros({2, 4}, at::kByte);
  EXPECT_THROW(psnr(film, film[0]), Error);
  EXPECT_THROW(psnr(film, film.to(at::kFloat)), Error);
  EXPECT_THROW(psnr(film.narrow(0, 0, 0), film.narrow(0, 0, 0)), Error);
}

TEST(ClippedPsnr, clips_to_the_range_before_it_compares) {
  const at::Tensor truth = at::zeros({2, 3}, at::kDouble), film = truth.clone();
  film[0].fill_(0.5);
  film[1].fill_(7);  // counts as 1
  const at::Tensor found = clipped_psnr(film, truth - 3, 1);
  EXPECT_NEAR(found[0].item<double>(), 20 * std::log10(2), 1e-12);
  EXPECT_NEAR(found[1].item<double>(), 0, 1e-12);
  EXPECT_THROW(clipped_psnr(film, truth, 0), Error);
  EXPECT_THROW(clipped_psnr(film.to(at::kByte), truth.to(at::kByte), 1), Error);
}

// So that a model that learnt something is told apart from one that repeats what it was given.
TEST(Psnr, repeating_the_first_frame_of_a_demonstration_is_clearly_wrong) {
  double total = 0;
  for (int64_t clip = 0; clip < 32; ++clip) {
    const DemoScene scene = draw_demo_scene(0, clip);
    const DemoTask task{scene.color, DemoVerb(clip % kDemoVerbs)};
    const at::Tensor film = render_demo(scene, simulate_demo(scene, task, 17).states, 64, 64);
    const at::Tensor future = film.narrow(0, 1, 16).unsqueeze(0);
    total += psnr(film.narrow(0, 0, 1).expand_as(future[0]).unsqueeze(0), future).item<double>();
  }
  RecordProperty("psnr_repeat_db", std::to_string(total / 32));
  EXPECT_GT(total / 32, 17);
  EXPECT_LT(total / 32, 19);
}

}  // namespace orrery
