// Plans beside counted steps of a larger network, and what memory.policy=auto chooses beside every fixed
// policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/auto_run.h"
#include "plan/planned_runs.h"

namespace orrery::test {
namespace {

TEST(PlannedCpu, memory_is_what_the_step_of_one_rank_takes_with_micro_batches_and_a_larger_network) {
  for (const char* preset : {"nano", "tiny"})
    for (const MemoryPolicy policy : {MemoryPolicy::none, MemoryPolicy::predict2_2b_720_aggressive})
      for (const int64_t micro_batch : {0, 1}) {
        Config c = small_config(10, 2);
        c.model.preset = preset;
        c.memory.policy = policy;
        c.train.micro_batch = micro_batch;
        expect_planned_is_counted(c);
      }
}

TEST(DryRun, auto_takes_the_memory_there_is_and_is_no_slower_than_any_policy_that_fits) {
  const Ceilings ceilings = read_ceilings("h100");
  const auto nodes = nodes_of(8, ceilings);
  Config c = released("2b", 4, 2, MemoryPolicy::automatic);
  c.train.batch = 4;
  for (const double limit : {20.0, 40.0, 79.0}) {
    c.memory.limit_gib = limit;
    c.memory.policy = MemoryPolicy::automatic;
    const PlanReport chosen = dry_run(c, nodes, ceilings);
    EXPECT_TRUE(chosen.fits()) << limit;
    EXPECT_THAT(chosen.recompute, testing::HasSubstr("memory.policy=auto: blocks 0 to"));
    for (const MemoryPolicy policy : {MemoryPolicy::none, MemoryPolicy::mm_only,
                                      MemoryPolicy::predict2_2b_720_aggressive, MemoryPolicy::full}) {
      c.memory.policy = policy;
      const PlanReport fixed = dry_run(c, nodes, ceilings);
      const double bound = fixed.fits() ? fixed.step_s : std::numeric_limits<double>::infinity();
      EXPECT_LE(chosen.step_s, 1.001 * bound) << name_of(policy) << " in " << limit;
    }
  }
}

TEST(DryRun, auto_keeps_less_where_deterministic_attention_needs_the_memory) {
  Ceilings ceilings = read_ceilings("h100");
  ceilings.tiled_attention_forward_tflops = 0;
  Config c = released("2b", 1, 2, MemoryPolicy::automatic);
  c.train.batch = 1;
  c.memory.limit_gib = 50;
  const PlanReport quick = dry_run(c, nodes_of(2, ceilings), ceilings);
  c.numerics.deterministic = true;
  const PlanReport fixed = dry_run(c, nodes_of(2, ceilings), ceilings);
  EXPECT_TRUE(quick.fits());
  EXPECT_TRUE(fixed.fits());
  EXPECT_GT(fixed.recompute_s, quick.recompute_s);
  EXPECT_LT(fixed.memory[MemoryUse::activations], quick.memory[MemoryUse::activations]);
}

TEST(DryRun, encoders_leave_less_memory_for_activations) {
  Config c = released("2b", 8, 1, MemoryPolicy::automatic);
  c.train.batch = 8;
  c.tokenizer.kind = TokenizerKind::wan;
  c.text.kind = TextKind::reason1;
  c.model.blocks = 5;
  const Ceilings ceilings = read_ceilings("h100");
  const AutoRun with = auto_run(c, nodes_of(8, ceilings), ceilings);
  c.data.cache = "/nowhere/cache";
  const AutoRun without = auto_run(c, nodes_of(8, ceilings), ceilings);
  EXPECT_TRUE(with.report.fits());
  EXPECT_NEAR(static_cast<double>(without.budget_bytes - with.budget_bytes) / 1e9, 14.4, 1.5);
}

}  // namespace
}  // namespace orrery::test
