// What a training step on a GPU asks of the host: it waits for the device at one point, and its memory does
// not grow.
#include <ATen/Context.h>
#include <ATen/ops/ones.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <gtest/gtest.h>

#include "train/sync_counter.h"
#include "train/trainee.h"

namespace orrery {
namespace {

class HostSync : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  static Config config(Dtype dtype) {
    Config c = test::small_config(1000, 4);
    c.numerics.device = Device::cuda;
    c.numerics.dtype = dtype;
    return c;
  }

  struct Counts {
    int64_t before_clip, before_update, all;
    std::string places;
  };
  // Of the third step: earlier ones set libraries up.
  static Counts counts_of(const Config& c) {
    test::Trainee trainee(c);
    trainee.train(0, 2);
    const StepBatch batch = test::scene_batch(2, 0, c.train.batch);
    test::SyncCounter counter;
    Counts out{};
    trainee.step.before_clip = [&] { out.before_clip = counter.count; };
    trainee.step.before_update = [&] { out.before_update = counter.count; };
    trainee.step(batch, 2);
    out.all = counter.count;
    out.places = counter.places;
    return out;
  }
};

// The norm of the gradients and the loss are read in one, when backward is done.
constexpr int64_t kReads = 1;

TEST_F(HostSync, happens_at_the_end_of_backward_alone) {
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const int64_t micro_batch : {0, 2})
      for (const MemoryPolicy policy : {MemoryPolicy::none, MemoryPolicy::full}) {
        Config c = config(dtype);
        c.train.micro_batch = micro_batch;
        c.memory.policy = policy;
        const Counts counts = counts_of(c);
        const std::string what =
            text_of(name_of(dtype), ", micro-batch ", micro_batch, ", policy ", name_of(policy));
        EXPECT_EQ(counts.before_clip, 0) << what << "\n" << counts.places;
        EXPECT_EQ(counts.before_update, kReads) << what << "\n" << counts.places;
        EXPECT_EQ(counts.all, kReads) << what << "\n" << counts.places;
      }
}

TEST_F(HostSync, counter_sees_a_read_of_a_tensor) {
  const at::Tensor x = at::ones({1}, at::device(at::kCUDA));
  test::SyncCounter counter;
  EXPECT_EQ(x.item<float>(), 1);
  EXPECT_EQ(counter.count, 1);
}

int64_t reserved_bytes() {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(0)
      .reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .current;
}
int64_t allocated_bytes() {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(0)
      .allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .current;
}

// Of the sizes that fragment: two blocks as wide as 2B's, and 2304 tokens.
TEST_F(HostSync, memory_that_the_allocator_holds_does_not_grow_in_200_steps) {
  Config c = config(Dtype::bfloat16);
  c.model.preset = "2b";
  c.model.blocks = 2;
  c.train.batch = 1;
  test::Trainee trainee(c);
  const flow::FlowBatch batch = trainee.drawn({1, 16, 9, 32, 32});
  const auto train = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) trainee.step.on_drawn(batch, 1, i);
  };
  train(0, 10);
  const int64_t reserved = reserved_bytes(), allocated = allocated_bytes();
  EXPECT_GT(allocated, int64_t{1} << 30) << "too small to prove anything";
  train(10, 210);
  EXPECT_EQ(reserved_bytes(), reserved);
  EXPECT_EQ(allocated_bytes(), allocated);
}

}  // namespace
}  // namespace orrery
