// The CUDA kernels against their CPU twins, to the last bit in forward.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

struct Case {
  at::ScalarType type;
  std::vector<int64_t> x, gate;
};

class CudaGatedAdd : public testing::TestWithParam<Case> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_P(CudaGatedAdd, equals_the_cpu_twin) {
  const Case c = GetParam();
  const auto draw = [&](std::string_view name, const std::vector<int64_t>& shape) {
    return Rng(1, name).normal_tensor(shape).to(c.type);
  };
  const at::Tensor x = draw("x", c.x), gate = draw("gate", c.gate), y = draw("y", c.x);
  const at::Tensor out = kernels::cuda::gated_add(x.cuda(), gate.cuda(), y.cuda());
  EXPECT_TRUE(at::equal(out.cpu(), kernels::cpu::gated_add(x, gate, y)));
  const at::Tensor turned =
      kernels::cuda::gated_add(x.cuda().transpose(0, 1).contiguous().transpose(0, 1), gate.cuda(), y.cuda());
  EXPECT_TRUE(at::equal(turned, out)) << "x not contiguous";
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaGatedAdd,
    testing::Values(Case{at::kFloat, {2, 3, 5, 7, 33}, {2, 3, 1, 1, 33}},
                    Case{at::kBFloat16, {2, 3, 4, 4, 256}, {2, 3, 1, 1, 256}},
                    Case{at::kHalf, {1, 1, 1}, {1, 1, 1}}, Case{at::kBFloat16, {0, 3, 4}, {0, 1, 4}},
                    Case{at::kFloat, {2, 3, 4}, {1, 3, 4}},     // not a run of ones: the reference
                    Case{at::kDouble, {2, 3, 4}, {2, 1, 4}}));  // nor this type

// TF32 would err by about 3e-4.
TEST(CudaProducts, keep_all_bits_of_float32) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor a = Rng(1, "a").normal_tensor({256, 1024}), b = Rng(1, "b").normal_tensor({1024, 256});
  const at::Tensor want = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
  const at::Tensor error = at::matmul(a.cuda(), b.cuda()).cpu().to(at::kDouble) - want;
  EXPECT_LT(error.norm().item().toDouble(), 1e-6 * want.norm().item().toDouble());
}

}  // namespace
}  // namespace orrery
