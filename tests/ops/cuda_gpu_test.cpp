// How ATen computes on CUDA.
#include <ATen/Context.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace orrery {
namespace {

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
