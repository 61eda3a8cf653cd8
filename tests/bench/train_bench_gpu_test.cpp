// The benchmark on a CUDA device: times are those of its stream.
#include "bench/train_bench.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

Config small_run() {
  Config c;
  c.model.preset = "tiny";
  c.data.frames = 17;
  c.data.height = c.data.width = 128;
  c.train.batch = 2;
  c.numerics.device = Device::cuda;
  c.numerics.dtype = Dtype::bfloat16;
  return c;
}

TEST(TrainBenchGpu, rows_add_up_to_the_step_and_the_allocator_is_read) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const Config c = small_run();
  World world;
  const TrainBench bench = bench_train(c, world, {.warm_up = 3, .steps = 5, .profiled = 3});
  EXPECT_LE(total_ms(bench.rows), 1.02 * bench.profiled_ms);  // two clocks
  EXPECT_GE(total_ms(bench.rows), 0.5 * bench.profiled_ms);
  EXPECT_GT(bench.reserved_mib, 1);
  EXPECT_EQ(bench.reserved_growth_mib, 0);
}

// Uses are counted as they were asked for; the total as the allocator rounds up, with the workspace that
// cuBLAS took before.
TEST(TrainBenchGpu, memory_is_told_by_use) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  Config c = small_run();
  c.train.batch = 8;
  World world;
  const TrainBench bench = bench_train(c, world, {.warm_up = 2, .steps = 2, .profiled = 0});
  double sum = 0, total = 0;
  for (const auto& [name, mib] : bench.memory) {
    if (name == "memory.total_mib") total = mib;
    if (name != "memory.total_mib" && name.ends_with("_mib")) sum += mib;
    for (const char* use : {"weights", "optimizer", "activations"})
      if (name == text_of("memory.", use, "_mib")) EXPECT_GT(mib, 0) << name;
  }
  EXPECT_LE(sum, total);
  EXPECT_GE(sum, 0.8 * (total - 32));
}

TEST(TrainBenchGpu, tune_chooses_every_product_before_the_timed_steps) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  Config c = small_run();
  c.numerics.tune = true;
  World world;
  const auto tuned = [&](int64_t steps) {
    return bench_train(c, world, {.warm_up = 1, .steps = steps, .profiled = 0}).products;
  };
  const auto once = tuned(1), again = tuned(2);
  EXPECT_GT(once.timed.size(), 5U);
  EXPECT_EQ(again.timed.size(), once.timed.size());
  EXPECT_GT(again.runs, once.runs);
  at::globalContext().setBenchmarkCuDNN(false);
}

}  // namespace
}  // namespace orrery
