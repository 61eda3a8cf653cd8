#include "base/parallel_for.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>

#include "base/error.h"

namespace orrery {
namespace {

class ParallelFor : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(3); }
  void TearDown() override { at::set_num_threads(before_); }
  const int before_ = at::get_num_threads();
};

TEST_F(ParallelFor, each_number_is_met_once_and_by_several_threads) {
  for (const int64_t count : {0, 1, 2, 3, 100, 1001}) {
    std::vector<int> met(static_cast<size_t>(count), 0);
    std::mutex mutex;
    std::set<std::thread::id> threads;
    parallel_for(5, 5 + count, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) ++met[static_cast<size_t>(i - 5)];
      const std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(met, std::vector<int>(met.size(), 1));
    EXPECT_EQ(threads.size(), static_cast<size_t>(std::min<int64_t>(count, 3))) << count;
  }
}

TEST_F(ParallelFor, short_runs_and_loops_within_loops_are_one_call) {
  std::atomic<int> calls = 0, inner = 0;
  parallel_for(0, 10, 10, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
  parallel_for(0, 3, 1,
               [&](int64_t, int64_t) { parallel_for(0, 100, 1, [&](int64_t, int64_t) { ++inner; }); });
  EXPECT_EQ(inner, 3);
}

TEST_F(ParallelFor, an_error_of_any_thread_is_thrown_when_all_are_done) {
  for (const int64_t bad : {0, 2}) {
    std::atomic<int> done = 0;
    EXPECT_THROW(parallel_for(0, 3, 1,
                              [&](int64_t first, int64_t) {
                                ++done;
                                require(first != bad, "bad");
                              }),
                 Error);
    EXPECT_EQ(done, 3);
  }
  parallel_for(0, 3, 1, [](int64_t, int64_t) {});  // goes on as before
}

TEST_F(ParallelFor, threads_are_in_the_callers_mode) {
  for (const bool is_inference : {true, false}) {
    const c10::InferenceMode mode(is_inference);
    parallel_for(0, 3, 1,
                 [&](int64_t, int64_t) { EXPECT_EQ(c10::InferenceMode::is_enabled(), is_inference); });
  }
}

}  // namespace
}  // namespace orrery
