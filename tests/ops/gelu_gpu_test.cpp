// The GELU kernels against ATen's in float64.
#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/erfc.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "base/rng.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

namespace cuda = kernels::cuda;

class GeluCuda : public testing::TestWithParam<at::ScalarType> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

 protected:
  at::ScalarType type() const { return GetParam(); }
  at::Tensor draw(std::string_view name, at::IntArrayRef shape) const {
    return (3 * Rng(1, name).normal_tensor(shape)).to(type());
  }
};

// Every finite value of a half type; for float32 a fine grid and all magnitudes.
at::Tensor values_of(at::ScalarType type) {
  if (type == at::kFloat) {
    const at::Tensor grid = at::linspace(-14, 14, 1 << 20, at::kFloat),
                     sizes = at::linspace(-126, 127, 4096, at::kDouble).exp2().to(at::kFloat);
    return at::cat({grid, sizes, -sizes, at::zeros({1})});
  }
  const at::Tensor all = at::arange(-32768, 32768, at::kInt).to(at::kShort).view(type);
  return all.masked_select(all.isfinite());
}

struct Exact {                        // float64
  at::Tensor x, distribution, slope;  // x, Phi(x), x phi(x)
  at::Tensor value() const { return x * distribution; }
  at::Tensor derivative() const { return distribution + slope; }
};
Exact exact(const at::Tensor& x) {
  const at::Tensor d = x.cpu().to(at::kDouble);
  return {d, 0.5 * at::erfc(-d / std::numbers::sqrt2),
          d * (d * d / -2).exp() / std::sqrt(2 * std::numbers::pi)};
}

// |got - want| <= (a rounding to got's type) |want| + (20 + x^2) 2^-24 terms (gelu_formula.h), but for what
// underflows.
testing::AssertionResult is_near(const at::Tensor& got, const at::Tensor& want, const at::Tensor& x,
                                 const at::Tensor& terms) {
  const auto type = got.scalar_type();
  const double rounding = type == at::kBFloat16 ? 0x1p-8
                          : type == at::kHalf   ? 0x1p-11
                                                : 0x1p-24,
               smallest = type == at::kHalf ? 0x1p-25 : 0x1p-122;
  const at::Tensor units = 20 + x.clamp(-13, 0).square();
  const at::Tensor bound = want.abs() * rounding + units * 0x1p-24 * terms + smallest;
  const at::Tensor excess = (got.cpu().to(at::kDouble) - want).abs() / bound;
  const double worst = excess.max().item<double>();
  if (worst <= 1) return testing::AssertionSuccess();  // NaN fails
  const int64_t at = excess.argmax().item<int64_t>();
  return testing::AssertionFailure() << worst << " times the bound at x = " << x.flatten()[at].item<double>()
                                     << ": " << got.flatten()[at].item<double>() << ", wanted "
                                     << want.flatten()[at].item<double>();
}

testing::AssertionResult mostly_equal(const at::Tensor& got, const at::Tensor& want) {
  const auto share = got.cpu().ne(want.to(got.scalar_type())).to(at::kDouble).mean().item<double>();
  const double few = got.scalar_type() == at::kBFloat16 ? 0.004 : 0.01;
  if (share <= few) return testing::AssertionSuccess();
  return testing::AssertionFailure() << 100 * share << " % are not the exact result rounded";
}

TEST_P(GeluCuda, is_the_exact_result_rounded_but_for_rare_neighbours) {
  const at::Tensor x = values_of(type()), got = cuda::gelu(x.cuda());
  ASSERT_EQ(got.scalar_type(), type());
  const Exact e = exact(x);
  EXPECT_TRUE(is_near(got, e.value(), e.x, e.value().abs()));
  if (type() != at::kFloat) {
    EXPECT_TRUE(mostly_equal(got, e.value()));
  }
}

TEST_P(GeluCuda, backward_is_the_exact_derivative_rounded_but_for_rare_neighbours) {
  const at::Tensor x = values_of(type()), got = cuda::gelu_backward(at::ones_like(x).cuda(), x.cuda());
  const Exact e = exact(x);
  EXPECT_TRUE(is_near(got, e.derivative(), e.x, e.distribution + e.slope.abs()));
  if (type() != at::kFloat) {
    EXPECT_TRUE(mostly_equal(got, e.derivative()));
  }
}

TEST_P(GeluCuda, backward_multiplies_before_it_rounds) {
  const at::Tensor x = draw("x", {333, 77}), dout = draw("dout", x.sizes()), g = dout.to(at::kDouble);
  const Exact e = exact(x);
  EXPECT_TRUE(is_near(cuda::gelu_backward(dout.cuda(), x.cuda()), g * e.derivative(), e.x,
                      g.abs() * (e.distribution + e.slope.abs())));
}

// The same values at an address that no 16-byte access may use.
at::Tensor shifted(const at::Tensor& t) {
  const at::Tensor base = at::zeros({t.numel() + 1}, t.options());
  return base.narrow(0, 1, t.numel()).copy_(t.flatten()).view(t.sizes());
}

TEST_P(GeluCuda, takes_any_size_address_and_order) {
  for (const int64_t count : {1, 7, 8, 9, 2047, 2048, 8191, 8192, 8193, 100003}) {
    const at::Tensor x = draw("x", {count}).cuda(), dout = draw("dout", {count}).cuda();
    const at::Tensor y = cuda::gelu(shifted(x)), dx = cuda::gelu_backward(shifted(dout), shifted(x));
    EXPECT_TRUE(at::equal(cuda::gelu(x), y)) << count;
    EXPECT_TRUE(at::equal(cuda::gelu_backward(dout, x), dx)) << count;
    EXPECT_TRUE(at::equal(cuda::gelu_backward(shifted(dout), x), dx)) << count;
    EXPECT_TRUE(is_near(y, exact(x).value(), exact(x).x, exact(x).value().abs())) << count;
  }
  const at::Tensor x = draw("x", {40, 50}).cuda(), dout = draw("dout", {50, 40}).cuda();
  EXPECT_TRUE(at::equal(cuda::gelu(x.t()), cuda::gelu(x).t()));
  EXPECT_TRUE(at::equal(cuda::gelu_backward(dout, x.t()), cuda::gelu_backward(dout.t().contiguous(), x).t()));
}

TEST_P(GeluCuda, gives_infinity_and_nan_where_aten_does) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const at::Tensor x = at::tensor({kInfinity, -kInfinity, std::nan(""), 1.0}).to(type()).cuda(),
                   one = at::ones_like(x);
  const auto same = [](const at::Tensor& got, const at::Tensor& want) {
    return at::equal(got.isnan(), want.isnan()) && at::equal(got.isinf(), want.isinf());
  };
  EXPECT_TRUE(same(cuda::gelu(x), at::gelu(x)));
  EXPECT_TRUE(same(cuda::gelu_backward(one, x), at::gelu_backward(one, x)));
  EXPECT_TRUE(cuda::gelu_backward(x, one)[2].isnan().item<bool>()) << "dout";
}

INSTANTIATE_TEST_SUITE_P(Types, GeluCuda, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

TEST(GeluFallback, sends_other_types_and_empty_tensors_to_aten) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor x = Rng(1, "x").normal_tensor({5, 6}).to(at::kDouble).cuda();
  EXPECT_TRUE(at::equal(cuda::gelu(x), at::gelu(x)));
  EXPECT_TRUE(at::equal(cuda::gelu_backward(x, x), at::gelu_backward(x, x)));
  const at::Tensor none = at::empty({0, 4}, x.options().dtype(at::kBFloat16));
  EXPECT_EQ(cuda::gelu(none).sizes(), none.sizes());
  EXPECT_EQ(cuda::gelu_backward(none, none).sizes(), none.sizes());
}

}  // namespace
}  // namespace orrery
