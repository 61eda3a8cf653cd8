#include "data/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

#include "base/error.h"

namespace orrery {
namespace {

// A plan of `count` reads that give their number.
ReadAhead<int64_t>::Plan numbers(int64_t count) {
  return [next = int64_t{0}, count]() mutable -> std::optional<ReadAhead<int64_t>::Read> {
    if (next == count) return std::nullopt;
    return [n = next++](const std::stop_token&) { return n; };
  };
}

TEST(ReadAhead, results_come_in_order_whatever_the_number_of_threads) {
  for (const int64_t workers : {1, 2, 5})
    for (const int64_t depth : {1, 3}) {
      ReadAhead<int64_t> ahead(numbers(20), workers, depth);
      for (int64_t i = 0; i < 20; ++i) ASSERT_EQ(ahead.next(), i);
      EXPECT_EQ(ahead.next(), std::nullopt);
      EXPECT_EQ(ahead.next(), std::nullopt);
    }
}

TEST(ReadAhead, no_more_than_depth_are_begun_ahead) {
  std::atomic<int64_t> planned = 0;
  ReadAhead<int64_t> ahead(
      [&]() -> std::optional<ReadAhead<int64_t>::Read> {
        ++planned;
        return [](const std::stop_token&) { return int64_t{0}; };
      },
      4, 3);
  for (int64_t taken = 1; taken <= 5; ++taken) {
    ahead.next();
    EXPECT_LE(planned, taken + 3);
  }
}

TEST(ReadAhead, a_failure_comes_at_its_place_and_the_others_are_still_there) {
  ReadAhead<int64_t> ahead(
      [next = int64_t{0}]() mutable -> std::optional<ReadAhead<int64_t>::Read> {
        if (next == 3) fail("no plan");
        return [n = next++](const std::stop_token&) {
          require(n != 1, "bad");
          return n;
        };
      },
      2, 4);
  EXPECT_EQ(ahead.next(), 0);
  EXPECT_THROW(ahead.next(), Error);
  EXPECT_EQ(ahead.next(), 2);
  EXPECT_THROW(ahead.next(), Error);
  EXPECT_EQ(ahead.next(), std::nullopt);
}

TEST(ReadAhead, an_early_end_stops_the_reads_under_way) {
  std::latch begun(1);
  bool was_stopped = false;
  {
    ReadAhead<int64_t> ahead(
        [&]() -> std::optional<ReadAhead<int64_t>::Read> {
          return [&](const std::stop_token& stop) {
            begun.count_down();
            while (!stop.stop_requested()) std::this_thread::yield();
            was_stopped = true;
            return int64_t{0};
          };
        },
        1, 1);
    begun.wait();
  }
  EXPECT_TRUE(was_stopped);
}

}  // namespace
}  // namespace orrery
