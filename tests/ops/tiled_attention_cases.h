#pragma once
// Inputs for our own kernels of attention, and attention in float64 to hold them against. The yardstick is
// the CPU twin in the same half type, which rounds at the same points (attention_gpu_test.cpp).
#include <ATen/ops/linspace.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <iostream>
#include <limits>

#include "base/rng.h"
#include "ops/cuda/tiled_attention.h"
#include "relative_error.h"

namespace orrery::test {

using kernels::cpu::Attention;
using kernels::cpu::AttentionGrads;
using kernels::cuda::is_for_tiles;
using kernels::cuda::tiled_attention;
using kernels::cuda::tiled_attention_backward;
inline constexpr double kRoom = 1.5;  // over the twin's error
// Of a log-sum-exp, absolute and in units of the largest: scores are sums of 128 products in float32.
inline constexpr double kLseError = 1e-4, kLseShare = 1e-5;
inline constexpr int64_t kDim = 128;
inline const double kScale = 1 / std::sqrt(static_cast<double>(kDim));
inline constexpr bool kModes[] = {false, true};  // of backward: is_deterministic
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Inputs {
  at::Tensor q, k, v;
  Inputs map(const std::function<at::Tensor(const at::Tensor&)>& f) const { return {f(q), f(k), f(v)}; }
  Inputs cuda() const {
    return map([](const at::Tensor& x) { return x.cuda(); });
  }
};

struct Case {
  int64_t batch, queries, keys, heads;
  at::ScalarType type = at::kBFloat16;
};
inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "B" << c.batch << " q" << c.queries << " k" << c.keys << " h" << c.heads << " " << c.type;
}

inline at::Tensor normal(std::string_view name, at::IntArrayRef shape) {
  return Rng(5, name).normal_tensor(shape);
}

inline Inputs draw(const Case& c) {
  return Inputs{normal("q", {c.batch, c.queries, c.heads, kDim}),
                normal("k", {c.batch, c.keys, c.heads, kDim}), normal("v", {c.batch, c.keys, c.heads, kDim})}
      .map([&](const at::Tensor& x) { return x.to(c.type); });
}

// Scores of about `first` for the first key, and on evenly to `last` for the last.
inline Inputs draw_between(const Case& c, double first, double last) {
  constexpr double kNoise = 0.3;
  const double unit = kScale * static_cast<double>(kDim);
  const at::Tensor level = at::linspace(first / unit, last / unit, c.keys).view({1, c.keys, 1, 1});
  return Inputs{1 + kNoise * normal("q", {c.batch, c.queries, c.heads, kDim}),
                level + kNoise * normal("k", {c.batch, c.keys, c.heads, kDim}),
                normal("v", {c.batch, c.keys, c.heads, kDim})}
      .map([&](const at::Tensor& x) { return x.to(c.type); });
}
inline at::Tensor draw_dout(const Inputs& x) {
  return normal("dout", x.q.sizes()).to(x.q.scalar_type());
}

inline Attention run(const Inputs& x) {
  EXPECT_TRUE(is_for_tiles(x.q, x.k));
  const auto result = tiled_attention(x.q, x.k, x.v, kScale);
  EXPECT_TRUE(result.has_value()) << "refused by the driver";
  return result.value();
}

inline AttentionGrads run_backward(const at::Tensor& dout, const Inputs& x, const Attention& forward,
                                   bool is_deterministic) {
  EXPECT_TRUE(is_for_tiles(x.q, x.k));
  const auto result =
      tiled_attention_backward(dout, x.q, x.k, x.v, forward.out, forward.lse, kScale, is_deterministic);
  EXPECT_TRUE(result.has_value()) << "refused by the driver";
  return result.value();
}

inline void expect_as_good_as_the_twin(const Attention& got, const Inputs& x) {
  const auto double_of = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const Attention exact = kernels::cpu::attention(double_of(x.q), double_of(x.k), double_of(x.v), kScale),
                  twin = kernels::cpu::attention(x.q, x.k, x.v, kScale);
  const double error = relative_error(got.out, exact.out), yardstick = relative_error(twin.out, exact.out),
               lse_error = (got.lse.cpu() - exact.lse).abs().max().item<double>();
  std::cout << "  out " << error << " (twin " << yardstick << ")  lse " << lse_error << "\n";
  EXPECT_LE(error, kRoom * yardstick);
  EXPECT_LE(lse_error, kLseError + kLseShare * exact.lse.abs().max().item<double>());
  EXPECT_EQ(got.out.scalar_type(), x.q.scalar_type());
  EXPECT_EQ(got.out.sizes(), x.q.sizes());
  EXPECT_EQ(got.lse.scalar_type(), at::kFloat);
  EXPECT_EQ(got.lse.sizes(), exact.lse.sizes());
}

struct Reference {
  AttentionGrads exact, twin;
};
inline AttentionGrads grads_on_cpu(const at::Tensor& dout, const Inputs& x) {
  const Attention forward = kernels::cpu::attention(x.q, x.k, x.v, kScale);
  return kernels::cpu::attention_backward(dout, x.q, x.k, x.v, forward.out, forward.lse, kScale);
}
inline Reference reference_of(const at::Tensor& dout, const Inputs& x) {
  const auto double_of = [](const at::Tensor& t) { return t.to(at::kDouble); };
  return {.exact = grads_on_cpu(double_of(dout), x.map(double_of)), .twin = grads_on_cpu(dout, x)};
}

inline void expect_as_good_as_the_twin(const AttentionGrads& got, const Reference& reference) {
  constexpr double kOfOneKey = 1e-4;  // the scores' gradient is zero then, and dq and dk are rounding errors
  const bool is_one_key = reference.exact.dk.size(1) == 1;
  const auto check = [&](const char* name, at::Tensor AttentionGrads::*member) {
    const at::Tensor &mine = got.*member, &twin = reference.twin.*member;
    EXPECT_EQ(mine.scalar_type(), twin.scalar_type()) << name;
    EXPECT_EQ(mine.sizes(), twin.sizes()) << name;
    EXPECT_TRUE(mine.isfinite().all().item<bool>()) << name;
    if (is_one_key && member != &AttentionGrads::dv) {
      EXPECT_LE(mine.abs().max().item<double>(), kOfOneKey) << name;
      return;
    }
    const double error = relative_error(mine, reference.exact.*member),
                 yardstick = relative_error(twin, reference.exact.*member);
    std::cout << "  " << name << " " << error << " (twin " << yardstick << ")";
    EXPECT_LE(error, kRoom * yardstick) << name;
  };
  check("dq", &AttentionGrads::dq);
  check("dk", &AttentionGrads::dk);
  check("dv", &AttentionGrads::dv);
  std::cout << "\n";
}

class CudaTiledAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    const at::Tensor probe = draw({1, 1, 1, 1}).q.cuda();
    if (!is_for_tiles(probe, probe)) GTEST_SKIP() << "no Hopper GPU, or not built for sm_90a";
  }
};
inline at::Tensor misaligned(const at::Tensor& t) {
  const at::Tensor flat = t.new_empty({t.numel() + 1}).narrow(0, 1, t.numel());
  return flat.copy_(t.flatten()).view(t.sizes());
}
inline auto contiguous_in(int64_t a, int64_t b) {
  return [=](const at::Tensor& t) { return t.transpose(a, b).contiguous().transpose(a, b); };
}

inline int64_t allocations(const std::function<void()>& work) {
  auto& allocator = dynamic_cast<c10::DeviceAllocator&>(*c10::GetAllocator(at::kCUDA));
  const auto count = [&] { return allocator.getDeviceStats(0).allocation[0].allocated; };
  const int64_t before = count();
  work();
  return count() - before;
}

// Whether `work`, one call of attention or attention_backward, is done by our own kernel or by cuDNN.
inline void expect_done(bool is_by_our_own, const std::function<void()>& work) {
  const auto before = kernels::cuda::fused_attention();
  work();
  const auto after = kernels::cuda::fused_attention();
  EXPECT_EQ(after.tiled - before.tiled, is_by_our_own ? 1 : 0);
  EXPECT_EQ(after.runs - before.runs, is_by_our_own ? 0 : 1) << after.last_refusal;
}

}  // namespace orrery::test
