// The norms of gradients on CUDA against those on the CPU: both sum in float64.
#include <ATen/Context.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "optim/grad_clip.h"
#include "optim/kernels.h"

namespace orrery {
namespace {

constexpr double kSums = 1e-12;  // relative, of float64 sums of positive terms
constexpr auto kCuda = at::kCUDA;

// One element, odd counts, a chunk of the kernel and one more, and several chunks.
const std::vector<int64_t> kCounts = {1, 33, 32768, 32769, 200001, 130};

class GradClipCuda : public testing::Test {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

 protected:
  // offset: elements that lie before each in its storage.
  static std::vector<at::Tensor> tensors(at::ScalarType type, int64_t offset, int copies) {
    std::vector<at::Tensor> out;
    for (int c = 0; c < copies; ++c)
      for (const int64_t count : kCounts) {
        const at::Tensor storage = at::zeros({count + offset}, at::TensorOptions().device(kCuda).dtype(type));
        const auto number = static_cast<uint64_t>(out.size());
        out.push_back(storage.narrow(0, offset, count));
        out.back().copy_(Rng(1, "grad", {number}).normal_tensor({count}));
      }
    return out;
  }
  static void expect_norms(const std::vector<at::Tensor>& tensors) {
    const auto norms = kernels::cuda::norms(tensors);
    ASSERT_TRUE(norms.has_value());
    const at::Tensor got = norms->cpu();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const double want = std::sqrt(tensors[i].cpu().to(at::kDouble).square().sum().item<double>());
      EXPECT_NEAR(got[static_cast<int64_t>(i)].item<double>() / want, 1, kSums) << "tensor " << i;
    }
    EXPECT_TRUE(kernels::cuda::norms(tensors)->cpu().equal(got)) << "a second run of the same";
  }
};

TEST_F(GradClipCuda, norms_are_those_of_float64_sums) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf})
    for (const int64_t offset : {0, 1}) expect_norms(tensors(type, offset, 1));
}

TEST_F(GradClipCuda, takes_many_tensors_of_several_types) {
  std::vector<at::Tensor> all = tensors(at::kFloat, 0, 40);
  for (const at::Tensor& more : tensors(at::kBFloat16, 0, 40)) all.insert(all.begin() + 7, more);
  all.push_back(tensors(at::kFloat, 0, 1)[4].slice(0, 0, 200000, 3));
  expect_norms(all);
}

TEST_F(GradClipCuda, leaves_other_types_to_aten) {
  EXPECT_FALSE(kernels::cuda::norms({at::zeros({3}, at::TensorOptions().device(kCuda).dtype(at::kDouble))}));
  const at::Tensor grad = Rng(1, "grad").normal_tensor({100}).to(at::kDouble);
  EXPECT_NEAR(GradClip({.max_norm = 0})({{"g", grad.cuda()}}).norm, grad.norm().item<double>(), 1e-12);
}

TEST_F(GradClipCuda, large_and_broken_gradients_are_seen) {
  EXPECT_NEAR(GradClip({.max_norm = 0})({{"a", at::full({4}, 1e30f).cuda()}}).norm / 2e30, 1, 1e-6);
  for (const float wrong : {NAN, INFINITY, -INFINITY}) {
    std::vector<NamedTensor> grads = {{"good", at::full({70000}, 3.f).cuda()},
                                      {"bad", at::full({70000}, 3.f).cuda()}};
    grads[1].tensor[69999] = wrong;
    const ClipResult result = GradClip({.max_norm = 1, .nonfinite = NonFinite::skip})(grads);
    EXPECT_EQ(result.nonfinite, std::vector<std::string>{"bad"});
    EXPECT_TRUE(result.skip);
  }
}

TEST_F(GradClipCuda, scales_to_the_limit_as_on_the_cpu) {
  std::vector<NamedTensor> here, there;
  for (const at::Tensor& grad : tensors(at::kFloat, 1, 1)) {
    there.push_back({"g", grad});
    here.push_back({"g", grad.cpu()});
  }
  const ClipResult got = GradClip({.max_norm = 1})(there), want = GradClip({.max_norm = 1})(here);
  EXPECT_NEAR(got.scale / want.scale, 1, kSums);
  for (size_t i = 0; i < here.size(); ++i)
    EXPECT_LT((there[i].tensor.cpu() - here[i].tensor).abs().max().item<float>(), 1e-7) << "tensor " << i;
}

}  // namespace
}  // namespace orrery
