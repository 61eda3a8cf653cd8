// Our own kernels of attention against attention in float64. The yardstick is the CPU twin in the same half
// type, which rounds at the same points (attention_gpu_test.cpp).
#include "ops/cuda/tiled_attention.h"

#include <ATen/Context.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/stack.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <iostream>
#include <limits>

#include "base/numerics.h"
#include "base/rng.h"
#include "ops/cuda/cudnn_attention.h"

namespace orrery {
namespace {

using kernels::cpu::Attention;
using kernels::cpu::AttentionGrads;
using kernels::cuda::is_for_tiles;
using kernels::cuda::tiled_attention;
using kernels::cuda::tiled_attention_backward;
constexpr double kRoom = 1.5;  // over the twin's error
// Of a log-sum-exp, absolute and in units of the largest: scores are sums of 128 products in float32.
constexpr double kLseError = 1e-4, kLseShare = 1e-5;
constexpr int64_t kDim = 128;
const double kScale = 1 / std::sqrt(static_cast<double>(kDim));
constexpr bool kModes[] = {false, true};  // of backward: is_deterministic
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

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

// Scores of about `first` for the first key, and on evenly to `last` for the last.
Inputs draw_between(const Case& c, double first, double last) {
  constexpr double kNoise = 0.3;
  const double unit = kScale * static_cast<double>(kDim);
  const at::Tensor level = at::linspace(first / unit, last / unit, c.keys).view({1, c.keys, 1, 1});
  return Inputs{1 + kNoise * normal("q", {c.batch, c.queries, c.heads, kDim}),
                level + kNoise * normal("k", {c.batch, c.keys, c.heads, kDim}),
                normal("v", {c.batch, c.keys, c.heads, kDim})}
      .map([&](const at::Tensor& x) { return x.to(c.type); });
}
at::Tensor draw_dout(const Inputs& x) {
  return normal("dout", x.q.sizes()).to(x.q.scalar_type());
}

Attention run(const Inputs& x) {
  EXPECT_TRUE(is_for_tiles(x.q, x.k));
  const auto result = tiled_attention(x.q, x.k, x.v, kScale);
  EXPECT_TRUE(result.has_value()) << "refused by the driver";
  return result.value();
}

AttentionGrads run_backward(const at::Tensor& dout, const Inputs& x, const Attention& forward,
                            bool is_deterministic) {
  EXPECT_TRUE(is_for_tiles(x.q, x.k));
  const auto result =
      tiled_attention_backward(dout, x.q, x.k, x.v, forward.out, forward.lse, kScale, is_deterministic);
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

struct Reference {
  AttentionGrads exact, twin;
};
AttentionGrads grads_on_cpu(const at::Tensor& dout, const Inputs& x) {
  const Attention forward = kernels::cpu::attention(x.q, x.k, x.v, kScale);
  return kernels::cpu::attention_backward(dout, x.q, x.k, x.v, forward.out, forward.lse, kScale);
}
Reference reference_of(const at::Tensor& dout, const Inputs& x) {
  const auto double_of = [](const at::Tensor& t) { return t.to(at::kDouble); };
  return {.exact = grads_on_cpu(double_of(dout), x.map(double_of)), .twin = grads_on_cpu(dout, x)};
}

void expect_as_good_as_the_twin(const AttentionGrads& got, const Reference& reference) {
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

// Backward in both modes.
void expect_grads_as_good_as_the_twin(const Inputs& x, const Attention& forward) {
  const at::Tensor dout = draw_dout(x);
  const Reference reference = reference_of(dout, x);
  for (const bool is_deterministic : kModes) {
    SCOPED_TRACE(is_deterministic ? "deterministic" : "in any order");
    expect_as_good_as_the_twin(run_backward(dout.cuda(), x.cuda(), forward, is_deterministic), reference);
  }
}

void expect_equal(const AttentionGrads& got, const AttentionGrads& want, const char* name) {
  EXPECT_TRUE(at::equal(got.dq, want.dq)) << name;
  EXPECT_TRUE(at::equal(got.dk, want.dk)) << name;
  EXPECT_TRUE(at::equal(got.dv, want.dv)) << name;
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
      const Inputs x = draw_between({1, 300, 1000, 2, type}, first, -first);
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

at::Tensor misaligned(const at::Tensor& t) {
  const at::Tensor flat = t.new_empty({t.numel() + 1}).narrow(0, 1, t.numel());
  return flat.copy_(t.flatten()).view(t.sizes());
}
auto contiguous_in(int64_t a, int64_t b) {
  return [=](const at::Tensor& t) { return t.transpose(a, b).contiguous().transpose(a, b); };
}

int64_t allocations(const std::function<void()>& work) {
  auto& allocator = dynamic_cast<c10::DeviceAllocator&>(*c10::GetAllocator(at::kCUDA));
  const auto count = [&] { return allocator.getDeviceStats(0).allocation[0].allocated; };
  const int64_t before = count();
  work();
  return count() - before;
}

// `clones`: inputs that the kernel cannot read as they are.
void expect_same(const char* name, const Inputs& viewed, const Inputs& packed, int64_t clones) {
  const Attention want = run(packed);
  Attention got;
  EXPECT_EQ(allocations([&] { got = run(viewed); }), 2 + clones) << name;  // out and lse
  EXPECT_TRUE(at::equal(viewed.q, packed.q) && at::equal(viewed.k, packed.k)) << name;
  EXPECT_TRUE(at::equal(got.out, want.out)) << name;
  EXPECT_TRUE(at::equal(got.lse, want.lse)) << name;
}

TEST_F(CudaTiledAttention, takes_views_as_they_are_and_clones_what_it_must) {
  const Inputs x = draw({2, 197, 197, 5}).cuda();
  const std::vector<at::Tensor> parts = at::stack({x.q, x.k, x.v}, 2).unbind(2);  // of (B,S,3,n,d)
  expect_same("one tensor of three", {parts[0], parts[1], parts[2]}, x, 0);
  const auto expect_same_by = [&](const char* name, const std::function<at::Tensor(const at::Tensor&)>& view,
                                  int64_t clones) { expect_same(name, x.map(view), x, clones); };
  expect_same_by("heads first", contiguous_in(1, 2), 0);
  expect_same_by("tokens first", contiguous_in(0, 1), 0);
  expect_same_by("last dimension strided", contiguous_in(2, 3), 3);
  expect_same_by(
      "some heads of more",
      [](const at::Tensor& t) {
        return at::stack({t, t}, 2).flatten(2, 3).narrow(2, 0, t.size(2));
      },
      0);
  expect_same_by("not aligned", misaligned, 3);
  expect_same_by(
      "strides that are not aligned",
      [](const at::Tensor& t) {
        return at::cat({t, t.narrow(3, 0, 1)}, 3).narrow(3, 0, kDim);
      },
      3);
}

TEST_F(CudaTiledAttention, takes_any_stride_of_dimensions_of_one_and_keys_for_all_heads) {
  for (const int64_t odd : {0, 3}) {
    const Inputs one_head = draw({1, 197, 130, 1}).cuda();
    expect_same("one entry of one head", one_head.map([&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {odd, t.stride(1), odd, 1});
    }),
                one_head, 0);
    const Inputs one_token = draw({2, 1, 1, 3}).cuda();
    expect_same("one token", one_token.map([&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {t.stride(0), odd, t.stride(2), 1});
    }),
                one_token, 0);
  }
  const Inputs x = draw({2, 150, 150, 3}).cuda();
  const at::Tensor shared = x.k.narrow(2, 1, 1).expand(x.k.sizes());  // stride 0
  expect_same("one head of keys", {x.q, shared, x.v}, {x.q, shared.contiguous(), x.v}, 1);
}

TEST_F(CudaTiledAttention, keeps_nan_to_the_row_that_has_it) {
  const Inputs x = draw({1, 300, 400, 2});
  constexpr int64_t kRow = 70;
  const at::Tensor q = x.q.clone();
  q.select(2, 1).select(1, kRow).fill_(kNan);
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
  const at::Tensor lse = run(x).lse;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double scale : {0.0, -1.0, 1e-39, 3e38, kInfinity, -kInfinity, kNan}) {
    EXPECT_FALSE(tiled_attention(x.q, x.k, x.v, scale).has_value()) << scale;
    EXPECT_FALSE(tiled_attention_backward(x.q, x.q, x.k, x.v, x.q, lse, scale, false).has_value()) << scale;
  }
  const auto is_taken = [](const at::Tensor& t) { return is_for_tiles(t, t); };
  EXPECT_TRUE(is_taken(x.q));
  EXPECT_FALSE(is_taken(x.q.to(at::kFloat)));
  EXPECT_FALSE(is_taken(x.q.narrow(3, 0, 64)));
  EXPECT_FALSE(is_taken(x.q.narrow(1, 0, 0)));
  EXPECT_FALSE(is_taken(x.q.narrow(2, 0, 1).expand({1, 64, 65536, kDim})));
}

// Whether `work`, one call of attention or attention_backward, is done by our own kernel or by cuDNN.
void expect_done(bool is_by_our_own, const std::function<void()>& work) {
  const auto before = kernels::cuda::fused_attention();
  work();
  const auto after = kernels::cuda::fused_attention();
  EXPECT_EQ(after.tiled - before.tiled, is_by_our_own ? 1 : 0);
  EXPECT_EQ(after.runs - before.runs, is_by_our_own ? 0 : 1) << after.last_refusal;
}

TEST_F(CudaTiledAttention, is_chosen_for_many_keys_alone) {
  using namespace kernels::cuda;
  for (const int64_t keys : {512, 4095, 4096, 4097}) {
    SCOPED_TRACE(keys);
    const Inputs x = draw({1, 200, keys, 2}), gpu = x.cuda();
    const at::Tensor cpu_dout = draw_dout(x), dout = cpu_dout.cuda();
    const bool is_ours = keys >= 4096;
    Attention got, other;
    AttentionGrads grads, other_grads;
    expect_done(is_ours, [&] { got = attention(gpu.q, gpu.k, gpu.v, kScale); });
    expect_done(is_ours,
                [&] { grads = attention_backward(dout, gpu.q, gpu.k, gpu.v, got.out, got.lse, kScale); });
    std::cout << keys << " keys:";
    expect_as_good_as_the_twin(got, x);
    expect_as_good_as_the_twin(grads, reference_of(cpu_dout, x));
    expect_done(false, [&] { other = cudnn_attention(gpu.q, gpu.k, gpu.v, kScale); });
    expect_done(false, [&] {
      other_grads = cudnn_attention_backward(dout, gpu.q, gpu.k, gpu.v, got.out, got.lse, kScale);
    });
    EXPECT_LT(relative_error(got.out, other.out), 1e-2);
    EXPECT_LT(relative_error(grads.dq, other_grads.dq), 1e-2);
    EXPECT_LT(relative_error(grads.dk, other_grads.dk), 1e-2);
    EXPECT_LT(relative_error(grads.dv, other_grads.dv), 1e-2);
  }
}

class CudaTiledAttentionBackward : public CudaTiledAttention {
 protected:
  void TearDown() override { set_deterministic(false); }
};
class CudaTiledAttentionBackwardOf : public CudaTiledAttentionBackward,
                                     public testing::WithParamInterface<Case> {};

TEST_P(CudaTiledAttentionBackwardOf, agrees_with_float64_as_well_as_the_cpu_twin) {
  const Inputs x = draw(GetParam());
  std::cout << GetParam() << ":\n";
  expect_grads_as_good_as_the_twin(x, run(x.cuda()));
}

std::vector<Case> backward_cases() {
  std::vector<Case> cases;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf})
    for (const Case& c : {Case{1, 1, 1, 1},
                          {1, 64, 64, 1},
                          {1, 65, 127, 2},
                          {1, 63, 128, 1},
                          {1, 129, 65, 4},
                          {1, 128, 129, 2},
                          {1, 1, 640, 3},
                          {2, 200, 1000, 3},
                          {2, 1000, 200, 3}})
      cases.push_back({c.batch, c.queries, c.keys, c.heads, type});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Shapes, CudaTiledAttentionBackwardOf, testing::ValuesIn(backward_cases()));

TEST_F(CudaTiledAttentionBackward, of_what_cudnn_saved_is_right) {
  const Inputs x = draw({1, 300, 500, 2}), gpu = x.cuda();
  Attention forward;
  expect_done(false, [&] { forward = kernels::cuda::cudnn_attention(gpu.q, gpu.k, gpu.v, kScale); });
  expect_grads_as_good_as_the_twin(x, forward);
}

// The last block of keys is filled in part: absent keys have scores of 0, and exp(0 - lse) would be infinite
// where lse is -300. Scores fall by up to 0.4 a key: where they are steeper, rows have one key alone, and the
// twin's dq and dk are rounding errors.
TEST_F(CudaTiledAttentionBackward, of_large_scores_is_finite_and_right) {
  const auto expect_right = [](const char* name, double score, const Inputs& x) {
    SCOPED_TRACE(testing::Message() << name << " " << score << " " << x.q.scalar_type());
    std::cout << name << " " << score << " " << x.q.scalar_type() << ":\n";
    expect_grads_as_good_as_the_twin(x, run(x.cuda()));
  };
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf})
    for (const int64_t keys : {129, 1000}) {
      const Case c{1, 200, keys, 2, type};
      const double steep = 0.2 * static_cast<double>(keys);
      for (const double first : {steep, 17.0, -steep})
        expect_right("from", first, draw_between(c, first, -first));
      for (const double score : {300.0, -300.0}) expect_right("near", score, draw_between(c, score, score));
    }
}

// 198 blocks of keys, more than there are multiprocessors; dq of a head has terms of 33.
TEST_F(CudaTiledAttentionBackward, repeats_dk_and_dv_to_the_bit_and_all_in_deterministic_mode) {
  const Inputs x = draw({2, 4200, 4200, 3}).cuda();
  const at::Tensor dout = draw_dout(x).cuda();
  const Attention forward = run(x);
  const AttentionGrads fixed = run_backward(dout, x, forward, true);
  for (int i = 0; i < 3; ++i) {
    expect_equal(run_backward(dout, x, forward, true), fixed, "deterministic");
    const AttentionGrads other = run_backward(dout, x, forward, false);
    EXPECT_TRUE(at::equal(other.dk, fixed.dk));
    EXPECT_TRUE(at::equal(other.dv, fixed.dv));
    EXPECT_LT(relative_error(other.dq, fixed.dq), 1e-3);  // a rounding goes the other way here and there
  }
}

TEST_F(CudaTiledAttentionBackward, is_deterministic_where_all_shall_be) {
  const Inputs x = draw({1, 200, 4200, 2}).cuda();
  const at::Tensor dout = draw_dout(x).cuda();
  const auto [out, lse] = run(x);
  const AttentionGrads want = run_backward(dout, x, {out, lse}, true);
  set_deterministic(true);
  const AttentionGrads got = kernels::cuda::attention_backward(dout, x.q, x.k, x.v, out, lse, kScale);
  expect_equal(got, want, "all deterministic");
}

// Inputs of backward, all of which lie somehow.
struct Saved {
  at::Tensor dout;
  Inputs x;
  Attention forward;
  Saved map(const std::function<at::Tensor(const at::Tensor&)>& f) const {
    return {f(dout), x.map(f), {f(forward.out), forward.lse}};
  }
};
Saved draw_saved(const Case& c) {
  const Inputs x = draw(c).cuda();
  return {draw_dout(x).cuda(), x, run(x)};
}

// `clones`: inputs that the kernel cannot read as they are. Up to 256 keys dq has two terms, whose sum is the
// same in either order.
void expect_same(const char* name, const Saved& viewed, const Saved& packed, int64_t clones) {
  ASSERT_LE(packed.x.k.size(1), 256);
  EXPECT_TRUE(at::equal(viewed.dout, packed.dout) && at::equal(viewed.x.k, packed.x.k)) << name;
  for (const bool is_deterministic : kModes) {
    const AttentionGrads want = run_backward(packed.dout, packed.x, packed.forward, is_deterministic);
    AttentionGrads got;
    const int64_t own = is_deterministic ? 6 : 5;  // the gradients, and space to work
    EXPECT_EQ(
        allocations([&] { got = run_backward(viewed.dout, viewed.x, viewed.forward, is_deterministic); }),
        own + clones)
        << name;
    expect_equal(got, want, name);
  }
}

TEST_F(CudaTiledAttentionBackward, takes_views_as_they_are_and_clones_what_it_must) {
  const Saved s = draw_saved({2, 197, 197, 5});
  const auto parts = at::stack({s.x.q, s.x.k, s.x.v}, 2).unbind(2);  // of (B,S,3,n,d)
  expect_same("one tensor of three", {s.dout, {parts[0], parts[1], parts[2]}, s.forward}, s, 0);
  expect_same("dout heads first", {contiguous_in(1, 2)(s.dout), s.x, s.forward}, s, 0);
  expect_same("all heads first", s.map(contiguous_in(1, 2)), s, 0);
  expect_same("all tokens first", s.map(contiguous_in(0, 1)), s, 0);
  const at::Tensor lse = s.forward.lse.transpose(1, 2).contiguous().transpose(1, 2);
  expect_same("lse transposed", {s.dout, s.x, {s.forward.out, lse}}, s, 1);
  expect_same("dout not aligned", {misaligned(s.dout), s.x, s.forward}, s, 1);
  expect_same("none aligned", s.map(misaligned), s, 5);
  expect_same("dout's last dimension strided", {contiguous_in(2, 3)(s.dout), s.x, s.forward}, s, 1);
  const at::Tensor number = s.dout.flatten()[0].expand(s.dout.sizes());
  expect_same("dout of one number", {number, s.x, s.forward}, {number.contiguous(), s.x, s.forward}, 1);
}

TEST_F(CudaTiledAttentionBackward, takes_any_stride_of_dimensions_of_one) {
  const Saved one_head = draw_saved({1, 197, 130, 1}), one_token = draw_saved({2, 1, 1, 3});
  for (const int64_t odd : {0, 3}) {
    const auto of_head = [&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {odd, t.stride(1), odd, 1});
    };
    const auto of_token = [&](const at::Tensor& t) {
      return t.as_strided(t.sizes(), {t.stride(0), odd, t.stride(2), 1});
    };
    expect_same("one entry of one head", one_head.map(of_head), one_head, 0);
    expect_same("one token", one_token.map(of_token), one_token, 0);
  }
}

TEST_F(CudaTiledAttentionBackward, keeps_nan_of_a_row_of_dout_to_what_it_reaches) {
  const Saved s = draw_saved({1, 300, 200, 2});  // two blocks of keys, as expect_same
  constexpr int64_t kRow = 70;
  const at::Tensor dout = s.dout.clone();
  dout.select(2, 1).select(1, kRow).fill_(kNan);
  for (const bool is_deterministic : kModes) {
    const AttentionGrads got = run_backward(dout, s.x, s.forward, is_deterministic),
                         want = run_backward(s.dout, s.x, s.forward, is_deterministic);
    const auto head = [](const AttentionGrads& g, int64_t i) {
      return AttentionGrads{g.dq.select(2, i), g.dk.select(2, i), g.dv.select(2, i)};
    };
    const AttentionGrads spoiled = head(got, 1);
    EXPECT_TRUE(spoiled.dk.isnan().all().item<bool>());
    EXPECT_TRUE(spoiled.dv.isnan().all().item<bool>());
    const at::Tensor row = spoiled.dq.select(1, kRow), wanted = head(want, 1).dq;
    EXPECT_TRUE(row.isnan().all().item<bool>());
    row.copy_(wanted.select(1, kRow));
    EXPECT_TRUE(at::equal(spoiled.dq, wanted));
    expect_equal(head(got, 0), head(want, 0), "the other head");
  }
}

}  // namespace
}  // namespace orrery
