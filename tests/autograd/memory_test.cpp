// What memory of a training pass is for.
#include "base/memory.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/reduce.h"

namespace orrery {
namespace {

TEST(MemoryOfAPass, activations_live_until_backward_and_gradients_of_leaves_stay) {
  const MemoryMeter meter(at::kCPU);
  const Variable x(at::ones({8, 16})), weight(at::ones({4, 16}), true);
  Recording recording;
  {
    const Variable y = ops::gelu(ops::linear(x, weight, {}));
    const Variable loss = ops::mean(ops::gelu(y));
    EXPECT_EQ(meter.live()[MemoryUse::activations], 2 * 8 * 4 * 4 + 4)
        << "inputs of the two gelus, and the loss";
    EXPECT_EQ(meter.live()[MemoryUse::gradients], 0);
    recording.backward(loss);
  }
  EXPECT_EQ(meter.live()[MemoryUse::activations], 0);
  EXPECT_EQ(meter.live()[MemoryUse::workspace], 0);
  EXPECT_EQ(meter.live()[MemoryUse::gradients], 4 * 16 * 4);
  EXPECT_GT(meter.peak()[MemoryUse::workspace], 0);
}

TEST(MemoryOfAPass, inference_has_no_activations) {
  const MemoryMeter meter(at::kCPU);
  const Variable x(at::ones({8, 16}));
  const Variable y = ops::gelu(x);
  EXPECT_EQ(meter.live().total(), 0);
  EXPECT_GT(meter.live()[MemoryUse::untracked], 0);
}

}  // namespace
}  // namespace orrery
