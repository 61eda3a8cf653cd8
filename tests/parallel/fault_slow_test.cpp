// Ranks that are lost, stopped or elsewhere: the others end within the time-out (2 s, and 5 s to ask) and
// name them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fault_run.h"

namespace orrery {

using testing::HasSubstr;

constexpr double kLimit = 10;

TEST(FaultSlow, a_stopped_rank_is_named) {
  const FaultRun run = run_fault("stop", 1);
  EXPECT_EQ(run.code, 5);
  EXPECT_EQ(run.lines_with("orrery: ranks 0, 2 and 3 of 4: all_reduce 'gradients 1'"), 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("of step 2 did not finish within 2 s: rank 1 does not answer"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, rank_0_stopped_is_named_too) {
  const FaultRun run = run_fault("stop", 0);
  EXPECT_EQ(run.code, 5);
  EXPECT_THAT(run.output, HasSubstr("rank 0 does not answer"));
  EXPECT_LT(run.seconds, kLimit + 2);
}

TEST(FaultSlow, a_rank_that_does_not_come_is_named_with_what_it_did_last) {
  const FaultRun run = run_fault("sleep", 2);
  EXPECT_EQ(run.code, 5);
  EXPECT_THAT(run.output,
              HasSubstr("rank 2 has not arrived; at step 2, last call all_reduce 'norm' of half"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, a_rank_in_another_collective_is_named) {
  const FaultRun run = run_fault("other_collective", 1);
  EXPECT_EQ(run.code, 5);
  EXPECT_THAT(run.output, HasSubstr("rank 1 called barrier 'epoch' instead"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, a_rank_that_returns_early_is_named) {
  const FaultRun run = run_fault("return", 1);
  EXPECT_EQ(run.code, 5);
  EXPECT_THAT(run.output, HasSubstr("rank 1 called barrier 'end of the run' instead"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, a_killed_rank_ends_all) {
  const FaultRun run = run_fault("kill", 1);
  EXPECT_NE(run.code, 0);
  EXPECT_THAT(run.output, HasSubstr("rank 1"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, an_exception_that_outlives_world_does_not_hang_in_finalize) {
  const FaultRun run = run_fault("throw_past_world", 2);
  EXPECT_EQ(run.code, 1);
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 2 of 4: an exception left the life of World\n"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, exit_with_code_0_and_an_unknown_exception_are_failures) {
  for (const char* mode : {"exit_0", "throw_unknown"}) {
    const FaultRun run = run_fault(mode, 3);
    EXPECT_EQ(run.code, 1);
    EXPECT_THAT(run.output, HasSubstr("orrery: rank 3 of 4: "));
    EXPECT_LT(run.seconds, kLimit);
  }
}

TEST(FaultSlow, an_exception_in_another_thread_ends_all) {
  const FaultRun run = run_fault("throw_in_thread", 0);
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 0 of 4: worker met a bad file\n"));
  EXPECT_LT(run.seconds, kLimit);
}

TEST(FaultSlow, exit_on_one_rank_ends_all_with_its_code) {
  const FaultRun run = run_fault("exit", 1);
  EXPECT_EQ(run.code, 7);
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 1 of 4: exit(7) was called before the end of the run\n"));
  EXPECT_LT(run.seconds, kLimit);
}

}  // namespace orrery
