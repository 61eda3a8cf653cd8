// Products by cuBLASLt against float64.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/numerics.h"
#include "base/rng.h"
#include "ops/linear.h"
#include "ops/product.h"

namespace orrery {
namespace {

using kernels::cuda::product;
using kernels::cuda::Products;
using kernels::cuda::products;

double rounding(at::ScalarType type) {
  return type == at::kBFloat16 ? 0x1p-8 : 0x1p-11;
}

at::Tensor draw(uint64_t number, const Shape& shape, at::ScalarType type) {
  return Rng(3, "product", {number}).normal_tensor(shape).to(type).cuda();
}
// Of the same numbers, with the columns dense in place of the rows.
at::Tensor by_columns(const at::Tensor& x) {
  return x.t().contiguous().t();
}

// One rounding, and the order of a float32 sum.
void expect_product(const at::Tensor& got, const at::Tensor& a, const at::Tensor& b,
                    const std::string& what) {
  const at::Tensor x = a.cpu().to(at::kDouble), y = b.cpu().to(at::kDouble), want = at::matmul(x, y);
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  EXPECT_TRUE(got.is_contiguous()) << what;
  EXPECT_EQ(got.scalar_type(), a.scalar_type()) << what;
  const at::Tensor bound =
      want.abs() * rounding(a.scalar_type()) + at::matmul(x.abs(), y.abs()) * 0x1p-19 + 1e-6;
  const double most = ((got.cpu().to(at::kDouble) - want).abs() / bound).max().item<double>();
  EXPECT_LE(most, 1) << what;
}

struct GpuProducts : testing::TestWithParam<at::ScalarType> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  void TearDown() override {
    at::globalContext().setBenchmarkCuDNN(false);
    set_deterministic(false);
  }
};

struct Sizes {
  int64_t m, k, n;
};

TEST_P(GpuProducts, are_those_of_float64_whichever_way_matrices_lie) {
  for (const bool by_time : {false, true})
    for (const auto& [m, k, n] :
         {Sizes{256, 128, 512}, {1, 64, 128}, {128, 64, 1}, {100, 1, 72}, {513, 77, 35}}) {
      at::globalContext().setBenchmarkCuDNN(by_time);
      const at::Tensor a = draw(1, {m, k}, GetParam()), b = draw(2, {k, n}, GetParam());
      const at::Tensor wide = draw(3, {m, 2 * k}, GetParam()).narrow(1, k, k);  // rows that are apart
      const std::string what = text_of(m, " x ", k, " x ", n, by_time ? " by time" : "");
      for (const at::Tensor& left : {a, by_columns(a), wide})
        for (const at::Tensor& right : {b, by_columns(b)})
          expect_product(product(left, right), left, right, what);
    }
}

TEST_P(GpuProducts, of_layouts_that_cublaslt_does_not_take_are_atens) {
  const at::Tensor a = draw(1, {64, 96}, GetParam()), b = draw(2, {32, 64}, GetParam());
  const at::Tensor sparse = a.slice(1, 0, 96, 3),
                   repeated = a.narrow(0, 0, 1).narrow(1, 0, 32).expand({5, 32});
  const int64_t refused = products().refused;
  expect_product(product(sparse, b), sparse, b, "every third column");
  expect_product(product(repeated, b), repeated, b, "one row again and again");
  EXPECT_EQ(product(a.narrow(0, 0, 0), a.t()).sizes(), (Shape{0, 64}));
  EXPECT_EQ(products().refused, refused + 3) << products().last_refusal;
  EXPECT_ANY_THROW(product(a, b));  // 96 columns, 32 rows
}

TEST_P(GpuProducts, of_one_shape_are_timed_once) {
  const at::Tensor a = draw(1, {384, 160}, GetParam()), b = draw(2, {160, 320}, GetParam());
  const Products before = products();
  product(a, b);
  EXPECT_EQ(products().timed.size(), before.timed.size()) << "the switch is off";
  at::globalContext().setBenchmarkCuDNN(true);
  product(a, b);
  product(a, b);
  const Products after = products();
  EXPECT_EQ(after.plans, before.plans + 2) << after.last_refusal;
  EXPECT_EQ(after.runs, before.runs + 3);
  ASSERT_EQ(after.timed.size(), before.timed.size() + 1);
  const auto& timed = after.timed.back();
  EXPECT_EQ(timed.layout, "nn");
  EXPECT_GT(timed.tried, 1);
  EXPECT_GT(timed.best_ms, 0);
  EXPECT_LE(timed.best_ms, timed.first_ms);
  EXPECT_DOUBLE_EQ(timed.flops(), 2.0 * 384 * 160 * 320);
}

TEST_P(GpuProducts, are_linears_only_where_the_switch_is_on_and_bits_may_differ) {
  const at::Tensor x = draw(1, {2, 72, 64}, GetParam()), w = draw(2, {96, 64}, GetParam()),
                   dy = draw(3, {2, 72, 96}, GetParam());
  const auto runs_of_a_step = [&] {
    const int64_t before = products().runs;
    const Variable input(x, true), weight(w, true);
    Recording recording;
    const Variable y = ops::linear(input, weight, {});
    expect_product(y.value().view({144, 96}), x.view({144, 64}), w.t(), "y");
    recording.backward({{y, dy}});
    expect_product(input.grad().view({144, 64}), dy.view({144, 96}), w, "dx");
    expect_product(weight.grad(), dy.view({144, 96}).t(), x.view({144, 64}), "dw");
    return products().runs - before;
  };
  EXPECT_EQ(runs_of_a_step(), 0);
  at::globalContext().setBenchmarkCuDNN(true);
  EXPECT_EQ(runs_of_a_step(), 3);
  set_deterministic(true);
  EXPECT_EQ(runs_of_a_step(), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuProducts, testing::Values(at::kBFloat16, at::kHalf),
                         [](const auto& type) { return std::string(c10::toString(type.param)); });

}  // namespace
}  // namespace orrery
