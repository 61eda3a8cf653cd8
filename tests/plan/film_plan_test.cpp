// What a film takes, by dry runs.
#include "plan/film_plan.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

Config released() {
  Config c;
  c.numerics.dtype = Dtype::bfloat16;
  c.numerics.device = Device::cuda;
  return c;
}

TEST(FilmPlan, the_2b_model_fits_a_gpu_at_720p_and_takes_minutes) {
  const FilmPlan plan =
      plan_film(released(), {.height = 704, .width = 1280, .evaluations = 70}, read_ceilings("h200"));
  EXPECT_TRUE(plan.fits());
  EXPECT_NEAR(plan.weights, 2 * 2059174912.0, 1);
  EXPECT_GT(plan.activations, 84480.0 * 2048 * 2 * 4) << "a few tensors of all tokens";
  EXPECT_LT(plan.total(), 40e9);
  EXPECT_GT(plan.denoise_s, 100);
  EXPECT_LT(plan.denoise_s, 400);
}

TEST(FilmPlan, context_ranks_share_memory_and_time) {
  const FilmWork one{.height = 704, .width = 1280, .context = 1};
  FilmWork four = one;
  four.context = 4;
  const FilmPlan a = plan_film(released(), one, read_ceilings("h200")),
                 b = plan_film(released(), four, read_ceilings("h200"));
  EXPECT_LT(b.activations + b.exchanges, 0.4 * a.activations);
  EXPECT_LT(b.denoise_s, 0.35 * a.denoise_s);
  EXPECT_EQ(a.weights, b.weights);
}

TEST(FilmPlan, what_does_not_fit_says_so) {
  Config c = released();
  c.memory.limit_gib = 4;
  const FilmPlan plan = plan_film(c, {.height = 704, .width = 1280}, read_ceilings("h100"));
  EXPECT_FALSE(plan.fits());
  EXPECT_NE(one_line(plan).find(" of 4.0 GiB a rank (weights 3.8"), std::string::npos) << one_line(plan);
}

}  // namespace
}  // namespace orrery
