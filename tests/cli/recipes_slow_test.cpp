// The recipes of launch/recipes fit the GPUs that they are meant for.
#include "cli/recipes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"
#include "cli/start_plan.h"
#include "infer/world_model.h"
#include "plan/dry_run.h"
#include "plan/report.h"

namespace orrery::cli {

// memory.policy=auto ends with full recompute where nothing else fits, so what fits then fits.
TEST(Recipes, every_shape_of_film_and_image_fits_the_ranks) {
  for (const Recipe& recipe : recipes()) {
    Config config = read_recipe(recipe);
    ASSERT_EQ(config.memory.policy, MemoryPolicy::automatic);
    config.memory.policy = MemoryPolicy::full;
    resolve_settings(config);
    const Ceilings ceilings = read_ceilings(recipe.ceilings);
    for (const Config& step : steps_of(config)) {
      SCOPED_TRACE(text_of(testing::PrintToString(recipe.files), " ", step.data.frames, " x ",
                           step.data.height, " x ", step.data.width));
      const PlanReport plan = quick_run(step, nodes_of(recipe.ranks, ceilings), ceilings);
      EXPECT_TRUE(plan.fits()) << one_line(plan);
    }
  }
}

TEST(Recipes, are_planned_by_the_program) {
  const std::string folder = recipe_folder().string() + "/";
  const Result gr1 = run("plan " + folder + "gr1_480p.ini --gpus=8 --ceilings=h100");
  EXPECT_EQ(gr1.code, 0) << gr1.text;
  EXPECT_THAT(gr1.text, testing::HasSubstr("8 ranks: 1 x 8 x 1"));
  const Result one = run("plan " + folder + "gr1_480p.ini --gpus=1 --train.batch=1 --ceilings=h200");
  EXPECT_EQ(one.code, 0) << one.text;
}

}  // namespace orrery::cli
