// Times the heavy ops at the sizes of training on one GPU, and checks little: the figures are for
// docs/performance.md. Run alone: --gtest_filter=*Speed*.
#include <ATen/Context.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "base/error.h"
#include "base/numerics.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/cuda/tiled_attention.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

const c10::Device kDevice(c10::kCUDA, 0);

c10::Stream stream() {
  return c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(kDevice);
}

// Median time on the current stream.
double median_ms(const std::function<void()>& work) {
  constexpr int kWarmUps = 2, kRuns = 7;
  for (int i = 0; i < kWarmUps; ++i) work();
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) {
    c10::Event begin(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT),
        end(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    begin.record(stream());
    work();
    end.record(stream());
    end.synchronize();
    times.push_back(begin.elapsedTime(end));
  }
  std::sort(times.begin(), times.end());
  return times[kRuns / 2];
}

at::Tensor random(at::IntArrayRef shape) {
  return at::randn(shape, at::device(kDevice).dtype(at::kBFloat16));
}

void print(const std::string& what, double flops, double ms) {
  std::printf("speed: %-52s %9.3f ms  %6.1f TFLOP/s\n", what.c_str(), ms, flops / ms / 1e9);
  std::fflush(stdout);
}

}  // namespace

class OpSpeed : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  void TearDown() override { set_deterministic(false); }
};

struct AttentionCase {
  const char* name;
  int64_t batch, heads, queries, keys;
};

TEST_F(OpSpeed, of_attention) {
  using namespace kernels::cuda;
  for (const AttentionCase& c : {AttentionCase{"2B, context 2: h8 S84480", 1, 8, 84480, 84480},
                                 {"h16 S42240", 1, 16, 42240, 42240},
                                 {"14B, context 8: h5 S84480", 1, 5, 84480, 84480},
                                 {"cross: h16 S84480 x 512", 1, 16, 84480, 512},
                                 {"images: B64 h16 S1024", 64, 16, 1024, 1024}}) {
    constexpr int64_t kDim = 128;
    const double scale = 1 / std::sqrt(static_cast<double>(kDim));
    const at::Tensor q = random({c.batch, c.queries, c.heads, kDim}),
                     k = random({c.batch, c.keys, c.heads, kDim}), v = random(k.sizes()),
                     dout = random(q.sizes());
    const double flops = 4.0 * static_cast<double>(q.numel()) * static_cast<double>(c.keys);
    const int64_t refused = fused_attention().refused;
    const kernels::cpu::Attention saved = attention(q, k, v, scale);
    const auto backward = [&] { attention_backward(dout, q, k, v, saved.out, saved.lse, scale); };
    const auto print_backward = [&](const std::string& what, bool is_deterministic) {
      print(what + " by cuDNN", 2.5 * flops,
            median_ms([&] { cudnn_attention_backward(dout, q, k, v, saved.out, saved.lse, scale); }));
      if (is_for_tiles(q, k))
        print(what + " by our own", 2.5 * flops, median_ms([&] {
                tiled_attention_backward(dout, q, k, v, saved.out, saved.lse, scale, is_deterministic);
              }));
    };
    const double forward_ms = median_ms([&] { attention(q, k, v, scale); });
    print(text_of(c.name, " forward"), flops, forward_ms);
    print(text_of(c.name, " forward by cuDNN"), flops, median_ms([&] { cudnn_attention(q, k, v, scale); }));
    if (is_for_tiles(q, k))
      print(text_of(c.name, " forward by our own"), flops,
            median_ms([&] { tiled_attention(q, k, v, scale); }));
    const double backward_ms = median_ms(backward);
    print(text_of(c.name, " backward (2.5x)"), 2.5 * flops, backward_ms);
    print_backward(text_of(c.name, " backward"), false);
    print(text_of(c.name, " both (as 3x)"), 3 * flops, forward_ms + backward_ms);
    set_deterministic(true);
    const double deterministic_ms = median_ms(backward);
    print_backward(text_of(c.name, " deterministic"), true);
    set_deterministic(false);
    print(text_of(c.name, " deterministic backward"), 2.5 * flops, deterministic_ms);
    print(text_of(c.name, " both, deterministic"), 3 * flops, forward_ms + deterministic_ms);
    EXPECT_EQ(fused_attention().refused, refused) << fused_attention().last_refusal;
  }
}

// What the host does for a call, and what the first of a shape costs.
TEST_F(OpSpeed, of_attention_on_the_host) {
  using namespace kernels::cuda;
  const at::Tensor q = random({1, 64, 2, 128});
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto microseconds = [&](auto begin) {
    return std::chrono::duration<double, std::micro>(now() - begin).count();
  };
  auto begin = now();
  const auto [out, lse] = attention(q, q, q, 0.1);
  const double first_forward = microseconds(begin);
  begin = now();
  attention_backward(q, q, q, q, out, lse, 0.1);
  const double first_backward = microseconds(begin);
  constexpr int kCalls = 200;
  begin = now();
  for (int i = 0; i < kCalls; ++i) attention(q, q, q, 0.1);
  const double forward = microseconds(begin) / kCalls;
  begin = now();
  for (int i = 0; i < kCalls; ++i) attention_backward(q, q, q, q, out, lse, 0.1);
  const double backward = microseconds(begin) / kCalls;
  std::printf("speed: host of attention: first %.0f us, then %.1f us; backward first %.0f us, then %.1f us\n",
              first_forward, forward, first_backward, backward);
}

TEST_F(OpSpeed, of_linear) {
  struct Shape {
    int64_t rows, in, out;
  };
  for (const Shape& s : {Shape{42240, 2048, 2048},
                         {42240, 2048, 8192},
                         {42240, 8192, 2048},
                         {10560, 5120, 5120},
                         {10560, 5120, 20480},
                         {10560, 20480, 5120}}) {
    const at::Tensor x = random({s.rows, s.in}), weight = random({s.out, s.in}), bias = random({s.out}),
                     dy = random({s.rows, s.out});
    const double flops = 2.0 * static_cast<double>(s.rows * s.in) * static_cast<double>(s.out);
    const std::string name = text_of("linear ", s.rows, "x", s.in, "x", s.out);
    print(name + " forward", flops, median_ms([&] { at::linear(x, weight); }));
    print(name + " forward with bias", flops, median_ms([&] { at::linear(x, weight, bias); }));
    print(name + " dx", flops, median_ms([&] { at::mm(dy, weight); }));
    print(name + " dweight", flops, median_ms([&] { at::mm(dy.t(), x); }));
    print(name + " dweight in float32", flops, median_ms([&] { at::mm(dy.t(), x, at::kFloat); }));
    print(name + " dweight, then float32", flops, median_ms([&] { at::mm(dy.t(), x).to(at::kFloat); }));
  }
}

}  // namespace orrery
