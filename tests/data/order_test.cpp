#include "data/order.h"

#include <gmock/gmock.h>

#include <numeric>
#include <set>

#include "base/error.h"

namespace orrery {
namespace {
using Groups = std::vector<std::vector<int64_t>>;

std::vector<int64_t> range(int64_t first, int64_t count) {
  std::vector<int64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

std::vector<int64_t> films(SampleOrder& order, int64_t step, int64_t batch) {
  std::vector<int64_t> result;
  for (int64_t slot = 0; slot < batch; ++slot) result.push_back(order.film(step, slot));
  return result;
}

TEST(SampleOrder, takes_each_film_once_an_epoch_in_ever_other_order) {
  SampleOrder order(7, 0, 3, {range(0, 10)});  // epochs end within batches
  std::vector<int64_t> taken;
  for (int64_t step = 0; step < 20; ++step)
    for (const int64_t film : films(order, step, 3)) taken.push_back(film);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 6; ++epoch) {
    const std::vector<int64_t> one(taken.begin() + 10 * epoch, taken.begin() + 10 * epoch + 10);
    EXPECT_THAT(one, testing::UnorderedElementsAreArray(range(0, 10))) << "epoch " << epoch;
    orders.insert(one);
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(SampleOrder, depends_on_seed_stream_and_step_alone) {
  const Groups groups = {range(0, 40), range(40, 7), range(47, 1)};
  SampleOrder forwards(3, 1, 4, groups), jumping(3, 1, 4, groups), seed(4, 1, 4, groups),
      stream(3, 2, 4, groups);
  std::vector<std::vector<int64_t>> expected, other_seed, other_stream;
  for (int64_t step = 0; step < 100; ++step) {
    expected.push_back(films(forwards, step, 4));
    other_seed.push_back(films(seed, step, 4));
    other_stream.push_back(films(stream, step, 4));
  }
  for (const int64_t step : {99, 0, 57, 56, 3, 98, 12})
    EXPECT_EQ(films(jumping, step, 4), expected[step]) << step;
  EXPECT_NE(other_seed, expected);
  EXPECT_NE(other_stream, expected);
}

TEST(SampleOrder, gives_batches_of_one_bucket_in_proportion) {
  const Groups groups = {range(0, 50), {}, range(50, 30), range(80, 3)};
  constexpr int64_t kBatch = 4, kCycle = 21, kCycles = 200;  // ceil(83 / 4)
  SampleOrder order(11, 0, kBatch, groups);
  std::vector<int64_t> batches(groups.size(), 0), uses(83, 0);
  for (int64_t cycle = 0; cycle < kCycles; ++cycle) {
    std::vector<int64_t> in_cycle(groups.size(), 0);
    for (int64_t step = cycle * kCycle; step < (cycle + 1) * kCycle; ++step) {
      const int64_t group = order.group(step);
      ++in_cycle[group];
      for (const int64_t film : films(order, step, kBatch)) {
        EXPECT_THAT(groups[group], testing::Contains(film));
        ++uses[film];
      }
    }
    for (size_t g = 0; g < groups.size(); ++g) {
      const double share = static_cast<double>(groups[g].size()) * kCycle / 83;
      EXPECT_GE(in_cycle[g], std::floor(share));
      EXPECT_LE(in_cycle[g], std::ceil(share));
      batches[g] += in_cycle[g];
    }
  }
  EXPECT_EQ(batches[1], 0);
  for (size_t g : {0, 2, 3}) {  // the share is exact in the mean
    const double share = static_cast<double>(groups[g].size()) * kCycle / 83 * kCycles;
    EXPECT_NEAR(static_cast<double>(batches[g]), share, 3 * std::sqrt(kCycles) / 2);
  }
  for (const auto& group : groups)  // within a bucket no film is taken twice before all were taken once
    for (const int64_t film : group) EXPECT_LE(std::abs(uses[film] - uses[group[0]]), 1);
}

TEST(SampleOrder, replacements_meet_each_film_once) {
  SampleOrder order(5, 0, 2, {range(0, 12), range(100, 1)});
  std::set<std::vector<int64_t>> walks;
  for (int64_t slot = 0; slot < 2; ++slot)
    for (int64_t step = 0; step < 5; ++step) {
      std::vector<int64_t> walk;
      for (int64_t attempt = 1; attempt <= 12; ++attempt)
        walk.push_back(order.replacement(0, step, slot, attempt));
      EXPECT_THAT(walk, testing::UnorderedElementsAreArray(range(0, 12)));
      walks.insert(walk);
    }
  EXPECT_GT(walks.size(), 5u);
  EXPECT_EQ(order.replacement(1, 0, 0, 1), 100);
}

TEST(SampleOrder, refuses_nonsense) {
  EXPECT_THROW(SampleOrder(0, 0, 0, {range(0, 3)}), Error);
  EXPECT_THROW(SampleOrder(0, 0, 1, {}), Error);
  EXPECT_THROW(SampleOrder(0, 0, 1, {{}, {}}), Error);
  SampleOrder order(0, 0, 2, {range(0, 3)});
  EXPECT_THROW(order.film(-1, 0), Error);
  EXPECT_THROW(order.film(0, 2), Error);
}

TEST(Mixture, cycles_through_the_parts) {
  std::string parts;
  std::vector<int64_t> steps(2, 0);
  for (int64_t step = 0; step < 10; ++step) {
    const CyclePosition at = cycle_position(step, {1, 3});
    parts += at.part == 0 ? 'i' : 'v';
    EXPECT_EQ(at.batch, steps[at.part]++) << step;
  }
  EXPECT_EQ(parts, "ivvvivvviv");
  EXPECT_EQ(cycle_position(6, {0, 2, 1}).part, 1);
  EXPECT_EQ(cycle_position(8, {0, 2, 1}).part, 2);
  EXPECT_EQ(cycle_position(8, {0, 2, 1}).batch, 2);
}

TEST(Mixture, refuses_empty_cycles) {
  EXPECT_THROW(cycle_position(0, {}), Error);
  EXPECT_THROW(cycle_position(0, {0, 0}), Error);
  EXPECT_THROW(cycle_position(0, {2, -1}), Error);
  EXPECT_THROW(cycle_position(-1, {1, 1}), Error);
}

}  // namespace
}  // namespace orrery
