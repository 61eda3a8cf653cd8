// The figures of docs/plan.md: what changes a plan by more than 0.5 % changes the tables there, too.
#include <gtest/gtest.h>

#include "plan/planned_runs.h"

namespace orrery::test {
namespace {

constexpr MemoryPolicy kAttention = MemoryPolicy::predict2_2b_720_aggressive;

struct Row {
  std::string preset;
  MeshShape mesh;
  int64_t height, width;
  double limit_gib;
  bool deterministic;
  double planned_s, measured_s;
};

double planned_step_s(const Row& row) {
  Config c = released(row.preset, row.mesh.shard, row.mesh.context, MemoryPolicy::automatic);
  c.train.batch = row.mesh.shard;
  c.data.height = row.height;
  c.data.width = row.width;
  c.optim.ema = Ema::none;
  c.memory.limit_gib = row.limit_gib;
  c.numerics.deterministic = row.deterministic;
  const Ceilings ceilings = read_ceilings("h200");
  return dry_run(c, nodes_of(row.mesh.size(), ceilings), ceilings).step_s;
}

TEST(PlannedTimes, are_those_of_the_manual_and_near_what_the_steps_took) {
  const Row rows[] = {
      {"2b", {.context = 2}, 704, 1280, 78, false, 5.62, 5.538},
      {"2b", {.context = 2}, 704, 1280, 78, true, 5.92, 5.806},
      {"2b", {.shard = 2}, 480, 832, 78, false, 2.60, 2.593},
      {"2b", {}, 480, 832, 130, false, 2.57, 2.516},
      {"2b", {}, 480, 832, 130, true, 2.68, 2.627},
      {"2b", {.context = 4}, 704, 1280, 130, false, 2.80, 2.778},
      {"14b", {.context = 4}, 704, 1280, 130, false, 10.63, 10.801},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(text_of(row.preset, ", ", row.height, " rows, ", row.mesh.size(), " ranks",
                         row.deterministic ? ", deterministic" : ""));
    const double planned = planned_step_s(row);
    EXPECT_NEAR(planned / row.planned_s, 1, 0.005);
    EXPECT_NEAR(planned / row.measured_s, 1, 0.03);
  }
}

TEST(PlannedTimes, of_the_published_layouts_are_those_of_the_manual) {
  struct Published {
    std::string preset;
    MeshShape mesh;
    MemoryPolicy policy;
    double mfu;  // %
  };
  const Published rows[] = {
      {"2b", {.replicate = 128, .shard = 16, .context = 2}, kAttention, 49.4},
      {"14b", {.replicate = 64, .shard = 8, .context = 8}, MemoryPolicy::predict2_14b_720_aggressive, 42.7},
  };
  const Ceilings ceilings = read_ceilings("h100");
  for (const Published& row : rows) {
    Config c = released(row.preset, row.mesh.shard, row.mesh.context, row.policy);
    c.parallel.replicate = row.mesh.replicate;
    c.train.batch = 4096 / row.mesh.context;
    EXPECT_NEAR(100 * quick_run(c, nodes_of(4096, ceilings), ceilings).mfu, row.mfu, 0.2) << row.preset;
  }
}

}  // namespace
}  // namespace orrery::test
