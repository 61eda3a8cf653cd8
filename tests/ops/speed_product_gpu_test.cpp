// Times products by cuBLASLt, their algorithms chosen by time, beside ATen's at the sizes of training: the
// figures are for docs/performance.md. Run alone: --gtest_filter=*Speed*.
#include <ATen/Context.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <utility>

#include "base/error.h"
#include "ops/product.h"

namespace orrery {
namespace {

const c10::Device kDevice(c10::kCUDA, 0);

// Milliseconds of one call in a row of them.
double ms_of(const std::function<void()>& work) {
  constexpr int kCalls = 4;
  const c10::Stream stream = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(kDevice);
  c10::Event begin(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT),
      end(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
  begin.record(stream);
  for (int call = 0; call < kCalls; ++call) work();
  end.record(stream);
  end.synchronize();
  return begin.elapsedTime(end) / kCalls;
}

// Medians of two that run in turn: a card that warms up slows down both.
std::pair<double, double> medians_ms(const std::function<void()>& one, const std::function<void()>& other) {
  constexpr size_t kRows = 7;
  one(), other();
  std::array<double, kRows> ones, others;
  for (size_t i = 0; i < kRows; ++i) ones[i] = ms_of(one), others[i] = ms_of(other);
  std::ranges::sort(ones);
  std::ranges::sort(others);
  return {ones[kRows / 2], others[kRows / 2]};
}

at::Tensor random(at::IntArrayRef shape) {
  return at::randn(shape, at::device(kDevice).dtype(at::kBFloat16));
}

void compare(const std::string& name, const at::Tensor& a, const at::Tensor& b) {
  using namespace kernels::cuda;
  const size_t before = products().timed.size();
  product(a, b);  // chooses
  const auto [aten, ours] = medians_ms([&] { at::mm(a, b); }, [&] { product(a, b); });
  const Products now = products();
  const auto rate = [&](double ms) {
    return 2e-9 * static_cast<double>(a.numel()) * static_cast<double>(b.size(1)) / ms;
  };
  std::printf("speed: %-36s ATen %8.4f ms %6.1f TFLOP/s, by time %8.4f ms %6.1f TFLOP/s, %+5.1f %%",
              name.c_str(), aten, rate(aten), ours, rate(ours), 100 * (aten / ours - 1));
  if (now.timed.size() > before)
    std::printf(" (of %d, first %.1f, best %.1f TFLOP/s)", static_cast<int>(now.timed.back().tried),
                rate(now.timed.back().first_ms), rate(now.timed.back().best_ms));
  std::printf("\n");
  std::fflush(stdout);
  EXPECT_EQ(now.last_refusal, "") << name;
}

void compare_linear(int64_t rows, int64_t in, int64_t out) {
  const at::Tensor x = random({rows, in}), weight = random({out, in}), dy = random({rows, out});
  const std::string name = text_of(rows, "x", in, "x", out);
  compare(name + " forward", x, weight.t());
  compare(name + " dx", dy, weight);
  compare(name + " dweight", dy.t(), x);
}

}  // namespace

class ProductSpeed : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    at::globalContext().setBenchmarkCuDNN(true);
  }
  void TearDown() override { at::globalContext().setBenchmarkCuDNN(false); }
};

TEST_F(ProductSpeed, of_linear_by_time_at_2b) {
  for (const int64_t rows : {15360, 21120, 37440, 42240}) {
    compare_linear(rows, 2048, 2048);
    compare_linear(rows, 2048, 8192);
    compare_linear(rows, 8192, 2048);
  }
}

TEST_F(ProductSpeed, of_linear_by_time_at_14b) {
  compare_linear(21120, 5120, 5120);
  compare_linear(21120, 5120, 20480);
  compare_linear(21120, 20480, 5120);
}

}  // namespace orrery
