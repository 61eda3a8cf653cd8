// Entry point of tests that run under mpirun: makes the World as the program does; every rank runs every
// test, and the program fails if any rank failed. An exception ends all ranks: after it their collectives
// would not match any more.
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <iostream>

#include "base/numerics.h"
#include "world.h"

namespace orrery {
namespace {

World* world_of_tests = nullptr;

// Ranks other than 0 print failures alone. GoogleTest holds its lock while it reports a part of a test:
// whoever asks it for the current test then waits forever.
class FailurePrinter final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& test) override { test_ = test.name(); }
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed())
      std::cerr << text_of("rank ", world_of_tests->rank(), ": ", test_, ": ", result, "\n");
  }
  void OnTestEnd(const testing::TestInfo&) override { test_.clear(); }

  std::string test_;
};

int run_tests(World& world) {
  const c10::InferenceMode inference;
  forbid_reduced_precision();
  world_of_tests = &world;
  if (!world.is_first()) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  at::Tensor failed = at::empty({1}, at::kLong);
  *failed.mutable_data_ptr<int64_t>() = RUN_ALL_TESTS();
  world.comm().all_reduce(failed, ReduceOp::max, "result of the tests").wait();
  return static_cast<int>(*failed.const_data_ptr<int64_t>());
}

}  // namespace

World& test_world() {
  return *world_of_tests;
}

}  // namespace orrery

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::GTEST_FLAG(catch_exceptions) = false;
  // Small messages and rounds, so that tensors of tests take several; results do not depend on them.
  return orrery::run_world({.timeout_s = 60, .max_message_bytes = 10000, .round_bytes = 50000},
                           orrery::run_tests);
}
