// Linear where algorithms of products may be chosen by time, which GPUs alone have.
#include "ops/linear.h"

#include <ATen/Context.h>
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>

#include "base/numerics.h"
#include "base/rng.h"
#include "ops/product.h"

namespace orrery {
namespace {

struct LinearByTime : testing::Test {
  void TearDown() override {
    at::globalContext().setBenchmarkCuDNN(false);
    set_deterministic(false);
  }
};

TEST_F(LinearByTime, needs_the_switch_and_gives_way_to_determinism) {
  EXPECT_FALSE(kernels::chooses_by_time());
  at::globalContext().setBenchmarkCuDNN(true);
  EXPECT_TRUE(kernels::chooses_by_time());
  set_deterministic(true);
  EXPECT_FALSE(kernels::chooses_by_time());
}

TEST_F(LinearByTime, leaves_the_cpu_as_it_is) {
  const at::Tensor x = Rng(1, "x").normal_tensor({2, 5, 6}), w = Rng(1, "w").normal_tensor({3, 6}),
                   bias = Rng(1, "bias").normal_tensor({3});
  at::globalContext().setBenchmarkCuDNN(true);
  EXPECT_TRUE(ops::linear(Variable(x), Variable(w), {}).value().equal(at::linear(x, w)));
  EXPECT_TRUE(ops::linear(Variable(x), Variable(w), Variable(bias)).value().equal(at::linear(x, w, bias)));
}

}  // namespace
}  // namespace orrery
