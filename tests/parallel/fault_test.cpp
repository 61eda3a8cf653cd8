// One rank's failure ends all ranks within 10 s with that rank's message and exit code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fault_run.h"

namespace orrery {

using testing::HasSubstr;

TEST(Fault, no_failure_no_message) {
  const FaultRun run = run_fault("none", 9);
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_EQ(run.lines_with("orrery"), 0) << run.output;  // hwloc may have something to say about the machine
  EXPECT_EQ(run.lines_with("MPI_ABORT"), 0) << run.output;
}

TEST(Fault, an_exception_on_one_rank_ends_all_with_its_message_and_code) {
  const FaultRun run = run_fault("throw", 2);
  EXPECT_EQ(run.code, 3);
  EXPECT_EQ(run.lines_with("orrery: rank 2 of 4: frame 12 of clip.mp4 cannot be decoded\n"), 1) << run.output;
  EXPECT_EQ(run.lines_with("orrery: "), 1) << run.output;
  EXPECT_LT(run.seconds, 10);
}

TEST(Fault, the_same_exception_on_all_ranks_is_printed_once) {
  const FaultRun run = run_fault("all_throw", 0);
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.lines_with("orrery: all 4 ranks: train.lr = fast is not a number\n"), 1) << run.output;
  EXPECT_EQ(run.lines_with("orrery: "), 1) << run.output;
  EXPECT_LT(run.seconds, 10);
}

TEST(Fault, an_exception_with_work_under_way_does_not_hang_in_destructors) {
  const FaultRun run = run_fault("throw_with_work_under_way", 1);
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 1 of 4: loss is not finite\n"));
  EXPECT_LT(run.seconds, 10);
}

TEST(Fault, different_sizes_are_an_error_at_once) {
  const FaultRun run = run_fault("other_size", 1);
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.output,
              HasSubstr("all_reduce 'gradients 1' of world, step 2: rank 1 sent 3996 bytes, expected 4000"));
  EXPECT_LT(run.seconds, 2);
}

}  // namespace orrery
