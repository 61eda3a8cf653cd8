// cuDNN's attention against attention in float64. The yardstick is the CPU twin in the same half type: it
// rounds where cuDNN does (inputs, probabilities and their gradients to the half type, sums in float32), only
// in another order, so half as much again must do; a wrong block or scale errs by orders of magnitude more.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <iostream>

#include "base/error.h"
#include "base/numerics.h"
#include "base/rng.h"
#include "ops/attention.h"
#include "ops/kernels.h"
#include "relative_error.h"

namespace orrery {
namespace {

using kernels::cpu::AttentionGrads;
constexpr double kRoom = 1.5;       // over the twin's error
constexpr double kLseError = 1e-4;  // absolute: errs probabilities by 1e-4 relative, bfloat16 rounds by 4e-3

struct Inputs {
  at::Tensor q, k, v, dout;
  double scale() const { return 1 / std::sqrt(static_cast<double>(q.size(3))); }
  Inputs map(const std::function<at::Tensor(const at::Tensor&)>& f) const {
    return {f(q), f(k), f(v), f(dout)};
  }
  Inputs to(at::ScalarType type) const {
    return map([&](const at::Tensor& x) { return x.to(type); });
  }
  Inputs cuda() const {
    return map([](const at::Tensor& x) { return x.cuda(); });
  }
};

struct Results {
  at::Tensor out, lse, dq, dk, dv;
};

Results run(const Inputs& x) {
  const bool gpu = x.q.is_cuda();
  const auto forward = gpu ? kernels::cuda::attention : kernels::cpu::attention;
  const auto backward = gpu ? kernels::cuda::attention_backward : kernels::cpu::attention_backward;
  const auto [out, lse] = forward(x.q, x.k, x.v, x.scale());
  const auto [dq, dk, dv] = backward(x.dout, x.q, x.k, x.v, out, lse, x.scale());
  return {out, lse, dq, dk, dv};
}

struct Case {
  int64_t batch, queries, keys, heads, dim;
  at::ScalarType type = at::kBFloat16;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "B" << c.batch << " q" << c.queries << " k" << c.keys << " h" << c.heads << " d" << c.dim
             << " " << c.type;
}

Inputs draw(const Case& c) {
  const auto tensor = [&](std::string_view name, int64_t tokens) {
    return Rng(3, name).normal_tensor({c.batch, tokens, c.heads, c.dim}).to(c.type);
  };
  return {tensor("q", c.queries), tensor("k", c.keys), tensor("v", c.keys), tensor("dout", c.queries)};
}

using test::relative_error;

void expect_as_good_as_the_twin(const Results& got, const Inputs& cpu_inputs) {
  const Results exact = run(cpu_inputs.to(at::kDouble)), twin = run(cpu_inputs);
  const auto check = [&](const char* name, at::Tensor Results::*member) {
    const double error = relative_error(got.*member, exact.*member),
                 yardstick = relative_error(twin.*member, exact.*member);
    std::cout << "  " << name << " " << error << " (twin " << yardstick << ")";
    EXPECT_LE(error, kRoom * yardstick) << name;
    EXPECT_EQ((got.*member).scalar_type(), (twin.*member).scalar_type()) << name;
    EXPECT_EQ((got.*member).sizes(), (twin.*member).sizes()) << name;
  };
  check("out", &Results::out);
  if (cpu_inputs.k.size(1) > 1) {  // with one key the scores' gradient is zero and these are rounding errors
    check("dq", &Results::dq);
    check("dk", &Results::dk);
  }
  check("dv", &Results::dv);
  const double lse_error = (got.lse.cpu() - exact.lse).abs().max().item<double>();
  std::cout << "  lse " << lse_error << "\n";
  EXPECT_LE(lse_error, kLseError);
  EXPECT_EQ(got.lse.scalar_type(), at::kFloat);
}

// Runs what must be done by cuDNN, and says why where it was not.
Results run_fused(const Inputs& x) {
  const auto before = kernels::cuda::fused_attention();
  const Results results = run(x);
  const auto after = kernels::cuda::fused_attention();
  EXPECT_EQ(after.refused, before.refused) << after.last_refusal;
  EXPECT_GE(after.runs, before.runs + 2);
  return results;
}

class DeterministicScope {
 public:
  DeterministicScope() { set_deterministic(true); }
  ~DeterministicScope() { set_deterministic(false); }
};

class CudaAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};
class CudaAttentionOf : public CudaAttention, public testing::WithParamInterface<Case> {};

TEST_P(CudaAttentionOf, agrees_with_float64_as_well_as_the_cpu_twin) {
  const Inputs x = draw(GetParam());
  std::cout << GetParam() << ":";
  expect_as_good_as_the_twin(run_fused(x.cuda()), x);
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaAttentionOf,
                         testing::Values(Case{1, 128, 128, 1, 64}, Case{2, 197, 197, 5, 64},
                                         Case{1, 1024, 1024, 16, 128}, Case{2, 384, 512, 16, 128},
                                         Case{1, 1000, 77, 5, 128}, Case{2, 1, 130, 2, 128},
                                         Case{1, 4096, 77, 5, 128}, Case{2, 2560, 130, 3, 64},
                                         Case{2, 130, 1, 2, 128}, Case{1, 65, 33, 3, 8},
                                         Case{1, 300, 300, 2, 80}, Case{1, 256, 256, 2, 128, at::kHalf},
                                         Case{2, 197, 51, 5, 64, at::kHalf}));

TEST_F(CudaAttention, of_one_token_and_of_wide_heads_is_right_whoever_computes_it) {
  for (const Case& c : {Case{2, 1, 1, 3, 64}, {1, 200, 200, 2, 256}, {1, 200, 200, 2, 192}}) {
    const auto before = kernels::cuda::fused_attention();
    const Inputs x = draw(c);
    std::cout << c << ":";
    expect_as_good_as_the_twin(run(x.cuda()), x);
    const auto after = kernels::cuda::fused_attention();
    std::cout << "  plans run: " << after.runs - before.runs
              << ", refused: " << (after.refused > before.refused ? after.last_refusal : "none") << "\n";
  }
}

TEST_F(CudaAttention, takes_views_as_they_are) {
  const Inputs x = draw({2, 197, 130, 5, 64});
  const Results packed = run_fused(x.cuda());
  const auto expect_same = [&](const char* name, const std::function<at::Tensor(const at::Tensor&)>& view) {
    const Inputs viewed = x.cuda().map(view);
    EXPECT_TRUE(at::equal(viewed.q, x.q.cuda())) << name;
    const Results got = run_fused(viewed);
    EXPECT_TRUE(at::equal(got.out, packed.out)) << name;
    EXPECT_TRUE(at::equal(got.lse, packed.lse)) << name;
    EXPECT_LT(relative_error(got.dq, packed.dq), 1e-3) << name;  // its sums have no fixed order
    EXPECT_TRUE(at::equal(got.dk, packed.dk)) << name;
    EXPECT_TRUE(at::equal(got.dv, packed.dv)) << name;
  };
  const auto contiguous_in = [](int64_t a, int64_t b) {
    return [=](const at::Tensor& t) { return t.transpose(a, b).contiguous().transpose(a, b); };
  };
  expect_same("heads first", contiguous_in(1, 2));
  expect_same("tokens first", contiguous_in(0, 1));
  expect_same("one of three", [](const at::Tensor& t) { return at::stack({t, t, t}, 2).select(2, 1); });
  expect_same("some heads of more", [](const at::Tensor& t) {
    return at::stack({t, t}, 2).flatten(2, 3).narrow(2, 0, t.size(2));
  });
  expect_same("last dimension strided", contiguous_in(2, 3));
  expect_same("not aligned", [](const at::Tensor& t) {
    const at::Tensor flat = t.new_empty({t.numel() + 1}).narrow(0, 1, t.numel());
    return flat.copy_(t.flatten()).view(t.sizes());
  });
}

TEST_F(CudaAttention, takes_a_gradient_that_is_one_number) {
  const Inputs x = draw({1, 128, 128, 2, 64});
  const Inputs wide{x.q, x.k, x.v, x.dout.flatten()[0].expand(x.q.sizes())};
  expect_as_good_as_the_twin(run_fused(wide.cuda()), {x.q, x.k, x.v, wide.dout.contiguous()});
}

TEST_F(CudaAttention, large_scores_do_not_overflow) {
  Inputs x = draw({1, 256, 256, 2, 64});
  x.q = x.q * 300;
  x.k = x.k * 300;
  const Results got = run_fused(x.cuda());
  for (const at::Tensor& t : {got.out, got.lse, got.dq, got.dk, got.dv})
    EXPECT_TRUE(t.isfinite().all().item<bool>());
}

TEST_F(CudaAttention, repeats_dk_and_dv_to_the_bit_and_all_in_deterministic_mode) {
  for (const Case& c : {Case{1, 2048, 2048, 8, 128}, {2, 1000, 512, 5, 64}, {1, 5120, 130, 3, 64}}) {
    const Inputs x = draw(c).cuda();
    const Results first = run_fused(x);
    for (int i = 0; i < 3; ++i) {
      const Results again = run_fused(x);
      EXPECT_TRUE(at::equal(first.out, again.out)) << c;
      EXPECT_TRUE(at::equal(first.lse, again.lse)) << c;
      EXPECT_TRUE(at::equal(first.dk, again.dk)) << c;
      EXPECT_TRUE(at::equal(first.dv, again.dv)) << c;
    }
    const DeterministicScope deterministic;
    const Results fixed = run_fused(x);
    for (int i = 0; i < 3; ++i) {
      const Results again = run_fused(x);
      EXPECT_TRUE(at::equal(fixed.dq, again.dq)) << c;
      EXPECT_TRUE(at::equal(fixed.dk, again.dk)) << c;
      EXPECT_TRUE(at::equal(fixed.dv, again.dv)) << c;
    }
    expect_as_good_as_the_twin(fixed, draw(c));
  }
}

// 3.6e9 bytes a head: two heads at a time, twice, then one.
TEST_F(CudaAttention, in_deterministic_mode_works_in_parts_where_memory_asks_for_it) {
  const Inputs x = draw({2, 42240, 42240, 5, 64}).cuda();
  const Results whole = run_fused(x);
  const DeterministicScope deterministic;
  const auto before = kernels::cuda::fused_attention();
  const Results parts = run_fused(x);
  EXPECT_EQ(kernels::cuda::fused_attention().runs - before.runs, 1 + 2 * 3);
  // Two results that each err by a rounding of bfloat16 or two.
  EXPECT_LT(relative_error(parts.dq, whole.dq), 1e-2);
  EXPECT_LT(relative_error(parts.dk, whole.dk), 1e-2);
  EXPECT_LT(relative_error(parts.dv, whole.dv), 1e-2);
}

TEST_F(CudaAttention, of_types_and_sizes_that_cudnn_does_not_take_is_the_twin) {
  for (const Case& c :
       {Case{2, 33, 17, 2, 64, at::kFloat}, {1, 9, 12, 3, 8, at::kDouble}, {1, 40, 40, 2, 12}}) {
    const Inputs x = draw(c);
    const auto before = kernels::cuda::fused_attention();
    const Results got = run(x.cuda()), want = run(x.to(at::kDouble));
    EXPECT_EQ(kernels::cuda::fused_attention().refused, before.refused + 2) << c;
    EXPECT_LT(relative_error(got.out, want.out), c.type == at::kBFloat16 ? 1e-2 : 1e-6) << c;
    EXPECT_LT(relative_error(got.dq, want.dq), c.type == at::kBFloat16 ? 1e-2 : 1e-5) << c;
  }
  const Inputs none = draw({0, 8, 8, 2, 64}).cuda();
  EXPECT_EQ(run(none).out.numel(), 0);
}

TEST_F(CudaAttention, refuses_to_fall_back_where_scores_would_fill_the_memory) {
  const at::Tensor x = Rng(3, "x").normal_tensor({1, 50000, 1, 8}).cuda();
  try {
    kernels::cuda::attention(x, x, x, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("score matrix of 9 GiB"), std::string::npos) << error.what();
  }
}

TEST_F(CudaAttention, is_what_the_op_runs) {
  const Inputs x = draw({1, 128, 128, 2, 64}).cuda();
  const auto before = kernels::cuda::fused_attention();
  const AttentionResult got = ops::attention_with_lse(Variable(x.q), Variable(x.k), Variable(x.v));
  EXPECT_EQ(kernels::cuda::fused_attention().runs, before.runs + 1);
  EXPECT_TRUE(at::equal(got.out.value(), run_fused(x).out));
}

// More shapes than plans are kept.
TEST_F(CudaAttention, forgets_plans_and_goes_on) {
  const Inputs x = draw({1, 260, 260, 1, 64}).cuda();
  const at::Tensor want = kernels::cuda::attention(x.q, x.k, x.v, 0.125).out;
  for (int64_t keys = 1; keys <= 260; ++keys)
    kernels::cuda::attention(x.q, x.k.narrow(1, 0, keys), x.v.narrow(1, 0, keys), 0.125);
  EXPECT_TRUE(at::equal(kernels::cuda::attention(x.q, x.k, x.v, 0.125).out, want));
}

}  // namespace
}  // namespace orrery
