#include "merge/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"

namespace orrery {
namespace {

TEST(Grid, soups_are_all_points_of_the_simplex_once) {
  const auto points = merge_grid({}, 2, true);
  std::set<std::string> names;
  for (const GridPoint& point : points) {
    const auto& c = point.config;
    ASSERT_EQ(c.weights.size(), 2u);
    EXPECT_NEAR(std::accumulate(c.weights.begin(), c.weights.end(), c.base_weight), 1, 1e-12);
    names.insert(point.name);
  }
  // Of 0, 1, 2, 3 and 5 tenths, three add up to ten as 5 5 0 (3 orders), 5 3 2 (6).
  EXPECT_EQ(points.size(), 9u);
  EXPECT_EQ(names.size(), 9u);
  EXPECT_EQ(names.count("soup_0.5_0.2_0.3"), 1u);
}

TEST(Grid, sizes_of_the_other_methods) {
  EXPECT_EQ(merge_grid({.method = MergeMethod::ties}, 3, false).size(), 12u);
  EXPECT_EQ(merge_grid({.method = MergeMethod::dare_linear}, 3, false).size(), 12u);
  EXPECT_EQ(merge_grid({.method = MergeMethod::dare_ties}, 3, false).size(), 12u);
  EXPECT_EQ(merge_grid({.method = MergeMethod::task_arithmetic}, 3, false).size(), 4u);
  EXPECT_EQ(merge_grid({.method = MergeMethod::ties}, 3, false).front().name, "ties_density0.2_lambda0.5");
}

TEST(Grid, what_the_grid_varies_cannot_be_set) {
  EXPECT_THROW(merge_grid({.weights = {1, 1}}, 2, false), Error);
  EXPECT_THROW(merge_grid({.method = MergeMethod::ties, .density = {0.5}}, 2, false), Error);
  EXPECT_THROW(merge_grid({.method = MergeMethod::ties, .lambda = 0.5}, 2, false), Error);
  EXPECT_THROW(merge_grid({}, 17, false), Error);
}

}  // namespace
}  // namespace orrery
