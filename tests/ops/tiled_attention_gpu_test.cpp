// Our own kernel of attention against attention in float64. The yardstick is the CPU twin in the same half
// type, which rounds at the same points (attention_gpu_test.cpp).
#include "ops/cuda/tiled_attention.h"

#include <ATen/Context.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <iostream>
#include <limits>

#include "base/rng.h"
#include "ops/cuda/cudnn_attention.h"

namespace orrery {
namespace {

using kernels::cpu::Attention;
using kernels::cuda::is_for_tiles;
using kernels::cuda::tiled_attention;
constexpr double kRoom = 1.5;  // over the twin's error
// Of a log-sum-exp, absolute and in units of the largest: scores are sums of 128 products in float32.
constexpr double kLseError = 1e-4, kLseShare = 1e-5;
constexpr int64_t kDim = 128;
const double kScale = 1 / std::sqrt(static_cast<double>(kDim));

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
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "B" << c.batch << " q" << c.queries << " k" << c.keys << " h" << c.heads << " " << c.type;
}

at::Tensor normal(std::string_view name, at::IntArrayRef shape) {
  return Rng(5, name).normal_tensor(shape);
}

Inputs draw(const Case& c) {
  return Inputs{normal("q", {c.batch, c.queries, c.heads, kDim}),
                normal("k", {c.batch, c.keys, c.heads, kDim}), normal("v", {c.batch, c.keys, c.heads, kDim})}
      .map([&](const at::Tensor& x) { return x.to(c.type); });
}

// Scores of about `first` for the first key, and falling evenly to minus that for the last.
Inputs draw_slope(const Case& c, double first) {
  constexpr double kNoise = 0.3;
  const double step = first / (kScale * static_cast<double>(kDim));
  const at::Tensor level = at::linspace(step, -step, c.keys).view({1, c.keys, 1, 1});
  return Inputs{1 + kNoise * normal("q", {c.batch, c.queries, c.heads, kDim}),
                level + kNoise * normal("k", {c.batch, c.keys, c.heads, kDim}),
                normal("v", {c.batch, c.keys, c.heads, kDim})}
      .map([&](const at::Tensor& x) { return x.to(c.type); });
}

Attention run(const Inputs& x) {
  EXPECT_TRUE(is_for_tiles(x.q, x.k));
  const auto result = tiled_attention(x.q, x.k, x.v, kScale);
  EXPECT_TRUE(result.has_value()) << "refused by the driver";
  return result.value();
}

double relative_error(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor wanted = want.cpu().to(at::kDouble), difference = got.cpu().to(at::kDouble) - wanted;
  return difference.norm().item<double>() / wanted.norm().item<double>();
}

void expect_as_good_as_the_twin(const Attention& got, const Inputs& x) {
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

class CudaTiledAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    const at::Tensor probe = draw({1, 1, 1, 1}).q.cuda();
    if (!is_for_tiles(probe, probe)) GTEST_SKIP() << "no Hopper GPU, or not built for sm_90a";
  }
};
class CudaTiledAttentionOf : public CudaTiledAttention, public testing::WithParamInterface<Case> {};

TEST_P(CudaTiledAttentionOf, agrees_with_float64_as_well_as_the_cpu_twin) {
  const Inputs x = draw(GetParam());
  std::cout << GetParam() << ":";
  expect_as_good_as_the_twin(run(x.cuda()), x);
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaTiledAttentionOf,
                         testing::Values(Case{1, 1, 1, 1}, Case{3, 1, 1, 2, at::kHalf}, Case{1, 64, 256, 1},
                                         Case{1, 129, 65, 4}, Case{1, 129, 65, 4, at::kHalf},
                                         Case{1, 128, 127, 2}, Case{1, 128, 128, 2}, Case{1, 128, 129, 2},
                                         Case{1, 257, 1, 2}, Case{1, 1, 640, 3}, Case{2, 1000, 1000, 3},
                                         Case{2, 1000, 1000, 3, at::kHalf}, Case{1, 300, 2047, 2}));

// The kernel walks from the last key to the first, so the maximum of every row grows: by about 2^72 a tile,
// 2^6 (it may lag by 2^8: some tiles move it and some do not), and never.
TEST_F(CudaTiledAttention, of_large_scores_that_grow_from_tile_to_tile_is_right) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf})
    for (const double first : {200.0, 17.0, -17.0, -200.0}) {
      const Inputs x = draw_slope({1, 300, 1000, 2, type}, first);
      std::cout << type << " from " << first << ":";
      expect_as_good_as_the_twin(run(x.cuda()), x);
    }
}

TEST_F(CudaTiledAttention, repeats_its_bits) {
  const Inputs x = draw({2, 1000, 1000, 3}).cuda();
  const Attention first = run(x);
  for (int i = 0; i < 3; ++i) {
    const Attention again = run(x);
    EXPECT_TRUE(at::equal(again.out, first.out));
    EXPECT_TRUE(at::equal(again.lse, first.lse));
  }
}

void expect_same(const char* name, const Inputs& viewed, const Inputs& packed) {
  const Attention got = run(viewed), want = run(packed);
  EXPECT_TRUE(at::equal(viewed.q, packed.q) && at::equal(viewed.k, packed.k)) << name;
  EXPECT_TRUE(at::equal(got.out, want.out)) << name;
  EXPECT_TRUE(at::equal(got.lse, want.lse)) << name;
}

TEST_F(CudaTiledAttention, takes_views_as_they_are) {
  const Inputs x = draw({2, 197, 197, 5}).cuda();
  const std::vector<at::Tensor> parts = at::stack({x.q, x.k, x.v}, 2).unbind(2);  // of (B,S,3,n,d)
  expect_same("one tensor of three", {parts[0], parts[1], parts[2]}, x);
  const auto expect_same_by = [&](const char* name,
                                  const std::function<at::Tensor(const at::Tensor&)>& view) {
    expect_same(name, x.map(view), x);
  };
  const auto contiguous_in = [](int64_t a, int64_t b) {
    return [=](const at::Tensor& t) { return t.transpose(a, b).contiguous().transpose(a, b); };
  };
  expect_same_by("heads first", contiguous_in(1, 2));
  expect_same_by("tokens first", contiguous_in(0, 1));
  expect_same_by("last dimension strided", contiguous_in(2, 3));
  expect_same_by("some heads of more", [](const at::Tensor& t) {
    return at::stack({t, t}, 2).flatten(2, 3).narrow(2, 0, t.size(2));
  });
  expect_same_by("not aligned", [](const at::Tensor& t) {
    const at::Tensor flat = t.new_empty({t.numel() + 1}).narrow(0, 1, t.numel());
    return flat.copy_(t.flatten()).view(t.sizes());
  });
  expect_same_by("strides that are not aligned", [](const at::Tensor& t) {
    return at::cat({t, t.narrow(3, 0, 1)}, 3).narrow(3, 0, kDim);
  });
}

TEST_F(CudaTiledAttention, takes_any_stride_of_dimensions_of_one_and_keys_for_all_heads) {
  for (const int64_t odd : {0, 3}) {
    const Inputs one_head = draw({1, 197, 130, 1}).cuda();
    expect_same("one entry of one head", one_head.map([&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {odd, t.stride(1), odd, 1});
    }),
                one_head);
    const Inputs one_token = draw({2, 1, 1, 3}).cuda();
    expect_same("one token", one_token.map([&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {t.stride(0), odd, t.stride(2), 1});
    }),
                one_token);
  }
  const Inputs x = draw({2, 150, 150, 3}).cuda();
  const at::Tensor shared = x.k.narrow(2, 1, 1).expand(x.k.sizes());  // stride 0
  expect_same("one head of keys", {x.q, shared, x.v}, {x.q, shared.contiguous(), x.v});
}

TEST_F(CudaTiledAttention, keeps_nan_to_the_row_that_has_it) {
  const Inputs x = draw({1, 300, 400, 2});
  constexpr int64_t kRow = 70;
  const at::Tensor q = x.q.clone();
  q.select(2, 1).select(1, kRow).fill_(std::numeric_limits<double>::quiet_NaN());
  const Attention got = run({q.cuda(), x.k.cuda(), x.v.cuda()}), want = run(x.cuda());
  const at::Tensor spoiled = got.out.select(2, 1).select(1, kRow);
  EXPECT_TRUE(spoiled.isnan().all().item<bool>());
  EXPECT_TRUE(got.lse.select(1, 1).select(1, kRow).isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(got.out.select(2, 0), want.out.select(2, 0)));
  spoiled.copy_(want.out.select(2, 1).select(1, kRow));
  got.lse.select(1, 1).select(1, kRow).copy_(want.lse.select(1, 1).select(1, kRow));
  EXPECT_LT(relative_error(got.out, want.out), 1e-2);  // a warp's rows move their maxima together
  EXPECT_LT(relative_error(got.lse, want.lse), 1e-5);
}

TEST_F(CudaTiledAttention, leaves_to_others_what_it_cannot_do) {
  const Inputs x = draw({1, 64, 64, 2}).cuda();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double scale : {0.0, -1.0, 1e-39, 3e38, kInfinity, -kInfinity, std::nan("")})
    EXPECT_FALSE(tiled_attention(x.q, x.k, x.v, scale).has_value()) << scale;
  const auto is_taken = [](const at::Tensor& t) { return is_for_tiles(t, t); };
  EXPECT_TRUE(is_taken(x.q));
  EXPECT_FALSE(is_taken(x.q.to(at::kFloat)));
  EXPECT_FALSE(is_taken(x.q.narrow(3, 0, 64)));
  EXPECT_FALSE(is_taken(x.q.narrow(1, 0, 0)));
  EXPECT_FALSE(is_taken(x.q.narrow(2, 0, 1).expand({1, 64, 65536, kDim})));
}

TEST_F(CudaTiledAttention, is_chosen_for_many_keys_alone) {
  for (const int64_t keys : {512, 4095, 4096, 4097}) {
    const Inputs x = draw({1, 200, keys, 2});
    const bool is_ours = keys >= 4096;
    const auto before = kernels::cuda::fused_attention();
    const Inputs gpu = x.cuda();
    const Attention got = kernels::cuda::attention(gpu.q, gpu.k, gpu.v, kScale);
    const auto after = kernels::cuda::fused_attention();
    EXPECT_EQ(after.tiled - before.tiled, is_ours ? 1 : 0) << keys;
    EXPECT_EQ(after.runs - before.runs, is_ours ? 0 : 1) << keys << " " << after.last_refusal;
    std::cout << keys << " keys:";
    expect_as_good_as_the_twin(got, x);
    const Attention other = kernels::cuda::cudnn_attention(gpu.q, gpu.k, gpu.v, kScale);
    EXPECT_EQ(kernels::cuda::fused_attention().tiled, after.tiled);
    EXPECT_LT(relative_error(got.out, other.out), 1e-2);
  }
}

}  // namespace
}  // namespace orrery
