// Attention forward by our own kernel.
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>

#include "ops/cuda/cudnn_attention.h"
#include "ops/tiled_attention_cases.h"

namespace orrery::test {
namespace {

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

}  // namespace
}  // namespace orrery::test
