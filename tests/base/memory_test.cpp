#include "base/memory.h"

#include <ATen/Context.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"

namespace orrery {
namespace {

at::Tensor floats(int64_t count, c10::DeviceType device) {
  return at::empty({count}, at::device(device).dtype(at::kFloat));
}

class MemoryMeterOn : public testing::TestWithParam<c10::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, MemoryMeterOn, testing::Values(at::kCPU, at::kMeta),
                         [](const auto& info) { return c10::DeviceTypeName(info.param, true); });

TEST_P(MemoryMeterOn, counts_live_bytes_by_use_and_the_peak_with_its_breakdown) {
  const MemoryMeter meter(GetParam());
  at::Tensor weights, activation;
  {
    const MemoryTag tag(MemoryUse::weights);
    weights = floats(100, GetParam());
    const MemoryTag inner(MemoryUse::activations);
    activation = floats(50, GetParam());
  }
  EXPECT_EQ(meter.live()[MemoryUse::weights], 400);
  EXPECT_EQ(meter.live()[MemoryUse::activations], 200);
  activation.reset();
  EXPECT_EQ(meter.live().total(), 400);
  EXPECT_EQ(meter.peak().total(), 600);
  EXPECT_EQ(meter.peak()[MemoryUse::activations], 200);
}

TEST_P(MemoryMeterOn, views_share_their_storage_and_results_of_ops_count) {
  const MemoryMeter meter(GetParam());
  const MemoryTag tag(MemoryUse::workspace);
  const at::Tensor x = floats(64, GetParam()), view = x.view({8, 8}).transpose(0, 1), sum = x + x;
  EXPECT_EQ(meter.live().total(), 2 * 256);
}

TEST_P(MemoryMeterOn, retag_moves_a_storage_to_another_use) {
  const MemoryMeter meter(GetParam());
  at::Tensor x = floats(10, GetParam());
  EXPECT_EQ(meter.live().total(), 0) << "without a tag nothing is counted";
  EXPECT_EQ(meter.live()[MemoryUse::untracked], 40);
  retag(x.view({2, 5}), MemoryUse::gradients);
  EXPECT_EQ(meter.live()[MemoryUse::gradients], 40);
  x.reset();
  EXPECT_EQ(meter.live().total(), 0);
  EXPECT_EQ(meter.live()[MemoryUse::untracked], 0);
  EXPECT_EQ(meter.peak()[MemoryUse::gradients], 40);
}

TEST_P(MemoryMeterOn, memory_from_before_the_meter_is_unknown_and_its_end_changes_nothing) {
  at::Tensor early = floats(10, GetParam());
  const MemoryMeter meter(GetParam());
  const MemoryTag tag(MemoryUse::weights);
  const at::Tensor late = floats(1, GetParam());
  retag(early, MemoryUse::gradients);
  early.reset();
  EXPECT_EQ(meter.live().total(), 4);
  EXPECT_EQ(meter.live()[MemoryUse::gradients], 0);
}

TEST_P(MemoryMeterOn, what_outlives_the_meter_may_be_freed) {
  const MemoryTag tag(MemoryUse::weights);
  at::Tensor survivor;
  {
    const MemoryMeter meter(GetParam());
    survivor = floats(10, GetParam());
  }
  survivor.reset();
  EXPECT_FALSE(survivor.defined());
}

TEST_P(MemoryMeterOn, paused_it_leaves_out_what_comes_and_goes_but_not_what_stays) {
  MemoryMeter meter(GetParam());
  const MemoryTag tag(MemoryUse::activations);
  meter.pause(true);
  at::Tensor result = floats(10, GetParam());
  floats(1000, GetParam());
  meter.pause(false);
  EXPECT_EQ(meter.peak().total(), 40);
  result.reset();
  meter.reset_peak();
  EXPECT_EQ(meter.peak().total(), 0);
}

TEST_P(MemoryMeterOn, the_innermost_meter_of_the_device_counts_and_the_outer_one_goes_on_after_it) {
  const MemoryTag tag(MemoryUse::weights);
  const MemoryMeter outer(GetParam());
  at::Tensor inside;
  {
    const MemoryMeter inner(GetParam());
    inside = floats(10, GetParam());
    EXPECT_EQ(inner.live().total(), 40);
  }
  const at::Tensor after = floats(1, GetParam());
  EXPECT_EQ(outer.live().total(), 4);
}

TEST(MemoryMeter, other_threads_are_not_counted_but_may_free) {
  const MemoryMeter meter(at::kCPU);
  const MemoryTag tag(MemoryUse::communication);
  at::Tensor mine = at::ones({100}), theirs;
  std::thread([&] {
    theirs = at::ones({7});
    mine.reset();
  }).join();
  EXPECT_EQ(meter.live().total(), 0);
  EXPECT_EQ(meter.peak().total(), 400);
}

TEST(MemoryMeter, a_device_whose_allocator_it_cannot_stand_in_front_of_is_refused) {
  EXPECT_THROW(MemoryMeter{at::kXPU}, Error);
  if (!at::hasCUDA()) EXPECT_THROW(MemoryMeter{at::kCUDA}, Error);
}

}  // namespace
}  // namespace orrery
