#include "plan/layouts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/report.h"

namespace orrery {
namespace {

using testing::HasSubstr;

Config released(const std::string& preset, int64_t batch) {
  Config c;
  c.model.preset = preset;
  c.numerics.dtype = Dtype::bfloat16;
  c.train.batch = batch;
  return c;
}

TEST(BestLayouts, fit_make_the_ranks_divide_frames_and_stay_inside_a_node) {
  const Ceilings ceilings = read_ceilings("h100");
  const auto found = best_layouts(released("2b", 64), 16, ceilings, ClipsOf::batch);
  ASSERT_FALSE(found.empty());
  for (const PlanReport& r : found) {
    EXPECT_TRUE(r.fits());
    EXPECT_EQ(r.mesh.size(), 16);
    EXPECT_EQ(24 % r.mesh.context, 0);
    EXPECT_LE(r.mesh.context, 8);
    EXPECT_LE(r.clips_per_s, found.front().clips_per_s);
  }
}

TEST(BestLayouts, a_model_that_no_layout_of_the_ranks_holds_has_none) {
  const Ceilings ceilings = read_ceilings("h100");
  EXPECT_TRUE(best_layouts(released("14b", 2), 2, ceilings, ClipsOf::batch).empty());
  EXPECT_FALSE(best_layouts(released("14b", 2), 16, ceilings, ClipsOf::batch).empty());
}

TEST(BestLayouts, a_smaller_limit_takes_more_recompute) {
  const Ceilings ceilings = read_ceilings("h200");
  Config c = released("2b", 4);
  const auto whole = best_layouts(c, 8, ceilings, ClipsOf::batch);
  c.memory.limit_gib = 32;
  const auto small = best_layouts(c, 8, ceilings, ClipsOf::batch);
  ASSERT_FALSE(whole.empty() || small.empty());
  EXPECT_GT(whole.front().clips_per_s, small.front().clips_per_s);
  for (const PlanReport& r : small) EXPECT_LE(r.total(), 32.0 * (1 << 30));
}

TEST(BestLayouts, with_a_clip_a_group_the_work_of_a_rank_does_not_depend_on_their_number) {
  const Ceilings ceilings = read_ceilings("h100");
  const auto few = best_layouts(released("2b", 1), 8, ceilings, ClipsOf::groups),
             many = best_layouts(released("2b", 1), 1024, ceilings, ClipsOf::groups);
  ASSERT_FALSE(few.empty() || many.empty());
  EXPECT_NEAR(few.front().mfu, many.front().mfu, 0.05);
}

TEST(PlanReport, says_no_with_what_is_missing) {
  Config c = released("14b", 8);
  c.parallel.shard = 8;
  const Ceilings ceilings = read_ceilings("h100");
  const PlanReport r = quick_run(c, nodes_of(8, ceilings), ceilings);
  EXPECT_FALSE(r.fits());
  EXPECT_THAT(one_line(r), HasSubstr("does not fit: "));
  EXPECT_THAT(describe(r, ceilings), HasSubstr("of 79.60 GiB"));
  EXPECT_THAT(describe(r, ceilings), HasSubstr("blocks.*.mlp.gelu"));
}

}  // namespace
}  // namespace orrery
