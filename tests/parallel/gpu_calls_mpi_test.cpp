// Calls that run on a GPU as the ranks tell each other about them; no GPU is needed for that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/comm_mpi.h"
#include "world.h"

namespace orrery {

using testing::HasSubstr;
using testing::Not;

TEST(GpuCalls, a_time_out_names_ranks_that_did_not_issue_a_call_and_those_whose_gpu_is_held_up) {
  World& world = test_world();
  const auto comm = world.comm().split(0, world.rank(), "shard");
  const auto& mpi = dynamic_cast<MpiComm&>(*comm);
  MpiEngine& engine = *mpi.engine();
  world.set_step(7);
  const CallRecord first = engine.note_issued(*mpi.queue(), "all_gather 'blocks.0'");
  EXPECT_EQ(first.step, 7);
  engine.note_finished(*mpi.queue(), first.number);
  CallRecord second;
  if (world.rank() != 1) second = engine.note_issued(*mpi.queue(), "all_gather 'blocks.1'");
  world.comm().barrier("all have issued").wait();
  if (world.rank() == 0) {
    EXPECT_EQ(second.number, first.number + 1);
    const std::string late = engine.explain(*mpi.queue(), second);
    EXPECT_THAT(late, HasSubstr("all_gather 'blocks.1' (number 1 of communicator shard"));
    EXPECT_THAT(
        late,
        HasSubstr("of step 7 did not finish within 60 s: rank 1 has not arrived; at step 7, last call "));
  }
  world.comm().barrier("first question").wait();
  if (world.rank() == 1) second = engine.note_issued(*mpi.queue(), "all_gather 'blocks.1'");
  if (world.rank() > 1) engine.note_reached(*mpi.queue(), second.number);
  world.comm().barrier("rank 1 has issued").wait();
  if (world.rank() == 0) {
    const std::string held_up = engine.explain(*mpi.queue(), second);
    EXPECT_THAT(held_up, HasSubstr("rank 1 has not arrived; it issued the call, but its GPU is held up"));
    EXPECT_THAT(held_up, Not(HasSubstr("rank 2")));
  }
  world.comm().barrier("second question").wait();
  if (world.rank() == 1) engine.note_reached(*mpi.queue(), second.number);
  world.comm().barrier("its GPU came to it").wait();
  if (world.rank() == 0) {
    EXPECT_THAT(engine.explain(*mpi.queue(), second), HasSubstr("all ranks arrived"));
  }
  world.comm().barrier("third question").wait();
  world.set_step(0);
}

}  // namespace orrery
