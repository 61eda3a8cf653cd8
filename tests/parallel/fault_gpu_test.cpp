// A rank that fails or does not come ends the run within seconds, while the GPUs of its peers wait for it.
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/fault_run.h"

namespace orrery {

using testing::HasSubstr;

class NcclFault : public testing::Test {
  void SetUp() override {
    if (at::getNumGPUs() < 2) GTEST_SKIP() << "fewer GPUs than ranks: " << at::getNumGPUs() << " for 2";
  }
};

TEST_F(NcclFault, no_failure_no_message) {
  const FaultRun run = run_fault("none", 9);
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_EQ(run.lines_with("orrery"), 0) << run.output;
}

TEST_F(NcclFault, work_of_the_gpu_before_a_call_does_not_count_as_waiting) {
  const FaultRun run = run_fault("slow", 9);
  EXPECT_EQ(run.code, 0) << run.output;
}

TEST_F(NcclFault, a_rank_that_does_not_come_is_named_with_the_call_and_the_step) {
  const FaultRun run = run_fault("late", 1);
  EXPECT_EQ(run.code, 5) << run.output;
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 0 of 2: all_reduce 'gradients 1' (number "));
  EXPECT_THAT(run.output, HasSubstr("of communicator world, 2 ranks) of step 2 did not finish within 2 s: "
                                    "rank 1 has not arrived; at step 2, last call all_reduce 'gradients 0'"));
  EXPECT_LT(run.seconds, 10);
}

TEST_F(NcclFault, a_rank_whose_gpu_does_not_come_is_named) {
  const FaultRun run = run_fault("gpu_held_up", 1);
  EXPECT_EQ(run.code, 5) << run.output;
  EXPECT_THAT(run.output, HasSubstr("did not finish within 2 s: rank 1 has not arrived; it issued the call, "
                                    "but its GPU is held up by earlier work; at step 2"));
  EXPECT_LT(run.seconds, 10);
}

TEST_F(NcclFault, an_exception_with_a_call_under_way_does_not_hang_in_destructors) {
  const FaultRun run = run_fault("throw", 1);
  EXPECT_EQ(run.code, 3) << run.output;
  EXPECT_THAT(run.output, HasSubstr("orrery: rank 1 of 2: loss is not finite\n"));
  EXPECT_LT(run.seconds, 10);
}

}  // namespace orrery
