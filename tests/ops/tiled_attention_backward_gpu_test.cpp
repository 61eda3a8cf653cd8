// Attention's backward by our own kernels.
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>

#include "base/numerics.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/tiled_attention_cases.h"

namespace orrery::test {
namespace {

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
}  // namespace orrery::test
