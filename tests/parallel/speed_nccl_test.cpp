// Times the collectives that FSDP and Ulysses use at their sizes and checks their results. The figures are
// for docs/performance.md; they decide nothing here.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "parallel/context_split.h"
#include "parallel/nccl_fixture.h"
#include "parallel/ulysses.h"

namespace orrery {
namespace {

// Median time on the current stream.
double median_ms(const std::function<void()>& work) {
  constexpr int kWarmUps = 5, kRuns = 21;
  for (int i = 0; i < kWarmUps; ++i) work();
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) {
    c10::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
    begin.record();
    work();
    end.record();
    end.synchronize();
    times.push_back(begin.elapsed_time(end));
  }
  std::sort(times.begin(), times.end());
  return times[kRuns / 2];
}

}  // namespace

class NcclSpeed : public NcclTest {
 protected:
  // bytes: of the whole tensor of a rank; share: the part of it that crosses each link.
  static void print(const char* what, int64_t bytes, double share, double ms) {
    if (rank() == 0)
      std::printf("speed: %-34s %4lld MB  %7.3f ms  %6.1f GB/s bus\n", what,
                  static_cast<long long>(bytes / 1000000), ms, static_cast<double>(bytes) * share / ms / 1e6);
  }
  static double others() { return static_cast<double>(size() - 1) / size(); }
  // Random bits cost power that zeros do not.
  static at::Tensor random(int64_t count, at::ScalarType dtype) {
    return at::randn({count / size() * size()}, on_device(dtype));
  }
};

TEST_F(NcclSpeed, of_gathering_scattering_and_exchanging) {
  at::Tensor whole = random(65'000'000, at::kBFloat16), part = random(65'000'000 / size(), at::kBFloat16);
  print("all_gather bfloat16", whole.nbytes(), others(),
        median_ms([&] { nccl().all_gather(whole, part, "weights").wait(); }));
  EXPECT_TRUE(whole.slice(0, rank() * part.numel(), (rank() + 1) * part.numel()).equal(part));

  at::Tensor ones = at::full({65'000'000 / size() * size()}, 1.0, on_device(at::kFloat)),
             reduced = at::zeros({ones.numel() / size()}, on_device(at::kFloat));
  at::Tensor gradients = random(65'000'000, at::kFloat);
  print("reduce_scatter float32", gradients.nbytes(), others(),
        median_ms([&] { nccl().reduce_scatter(reduced, gradients, ReduceOp::mean, "gradients").wait(); }));
  nccl().reduce_scatter(reduced, ones, ReduceOp::sum, "ones").wait();
  EXPECT_EQ(reduced.min().item<float>(), size());
  EXPECT_EQ(reduced.max().item<float>(), size());

  print("all_reduce float32", gradients.nbytes(), 2 * others(),
        median_ms([&] { nccl().all_reduce(gradients, ReduceOp::mean, "gradients").wait(); }));

  const at::Tensor heads = random(86'500'000, at::kBFloat16);
  at::Tensor tokens = at::zeros_like(heads), back = at::zeros_like(heads);
  print("all_to_all bfloat16", heads.nbytes(), others(),
        median_ms([&] { nccl().all_to_all(tokens, heads, "heads").wait(); }));
  nccl().all_to_all(back, tokens, "and back").wait();
  EXPECT_TRUE(back.equal(heads));
}

// Self-attention of the 2B model on 84,480 tokens, without the attention itself.
TEST_F(NcclSpeed, of_ulysses) {
  constexpr int64_t kTokens = 84480, kHeads = 16, kDim = 128;
  const auto heads = [&] {
    return random(kTokens * kHeads * kDim / size(), at::kBFloat16).view({1, kTokens / size(), kHeads, kDim});
  };
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&nccl()});
  const Variable q(heads()), k(heads()), v(heads());
  const AttentionFn there =
      ulysses(group, [](const Variable& x, const Variable&, const Variable&) { return x; });
  EXPECT_TRUE(there(q, k, v).value().equal(q.value()));
  const int64_t bytes = q.value().nbytes();
  print("ulysses q, k, v there and one back", 4 * bytes, others(), median_ms([&] { there(q, k, v); }));

  const at::Tensor x = q.value(), y = at::empty_like(x);
  const Counts halves(2, kHeads / 2);
  const auto rate = [&](const char* what, const std::function<void()>& copy) {
    const double ms = median_ms(copy);
    if (rank() == 0)
      std::printf("speed: %-34s %7.3f ms  %6.1f GB/s read and written\n", what, ms,
                  2.0 * static_cast<double>(bytes) / ms / 1e6);
  };
  rate("copy", [&] { y.copy_(x); });
  rate("packing of heads", [&] { pack_pieces(x, 2, halves); });
  rate("unpacking of heads", [&] { unpack_pieces(y.view(-1), x.sizes(), 2, halves); });
}

TEST_F(NcclSpeed, of_products_with_a_gather_beside_them) {
  const at::Tensor a = random(8192 * 8192, at::kBFloat16).view({8192, 8192});
  at::Tensor whole = random(65'000'000, at::kBFloat16), part = random(65'000'000 / size(), at::kBFloat16);
  const auto products = [&] {
    for (int i = 0; i < 6; ++i) at::matmul(a, a);
  };
  const auto gathers = [&](const std::function<void()>& meanwhile) {
    std::vector<Work> works;
    for (int i = 0; i < 6; ++i) works.push_back(nccl().all_gather(whole, part, "weights"));
    meanwhile();
    works.clear();
  };
  const double alone = median_ms(products), gathering = median_ms([&] { gathers([] {}); }),
               both = median_ms([&] { gathers(products); });
  if (rank() == 0)
    std::printf("speed: 6 products %.2f ms, 6 all_gathers of %lld MB %.2f ms, side by side %.2f ms\n", alone,
                static_cast<long long>(whole.nbytes() / 1000000), gathering, both);
  EXPECT_LT(both, alone + gathering);
}

TEST_F(NcclSpeed, of_setting_up) {
  const auto free_bytes = [] {
    size_t free = 0, all = 0;
    EXPECT_EQ(cudaMemGetInfo(&free, &all), cudaSuccess);
    return static_cast<double>(free);
  };
  at::Tensor x = at::zeros({1 << 20}, on_device(at::kFloat)), y = at::zeros_like(x);
  const auto other = nccl().split(0, rank(), "other");
  mpi().barrier("together").wait();
  const double before = free_bytes();
  const auto begin = std::chrono::steady_clock::now();
  other->all_reduce(x, ReduceOp::sum, "first").wait();
  c10::cuda::device_synchronize();
  const auto end = std::chrono::steady_clock::now();
  const double reduced = free_bytes();
  other->all_to_all(y, x, "first exchange").wait();
  c10::cuda::device_synchronize();
  if (rank() == 0)
    std::printf("speed: first all_reduce: %.0f ms, %.0f MB of the GPU; with an all_to_all %.0f MB\n",
                std::chrono::duration<double, std::milli>(end - begin).count(), (before - reduced) / 1e6,
                (before - free_bytes()) / 1e6);
}

TEST_F(NcclSpeed, of_the_host) {
  constexpr int kCalls = 500;
  at::Tensor whole = at::zeros({1024 * size()}, on_device(at::kFloat)),
             part = at::zeros({1024}, on_device(at::kFloat));
  const auto call = [&] { nccl().all_gather(whole, part, "small").wait(); };
  for (int i = 0; i < 10; ++i) call();
  c10::cuda::device_synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) call();
  const auto issued = std::chrono::steady_clock::now();
  c10::cuda::device_synchronize();
  const auto finished = std::chrono::steady_clock::now();
  const auto each_us = [&](auto end) {
    return std::chrono::duration<double, std::micro>(end - begin).count() / kCalls;
  };
  if (rank() == 0)
    std::printf("speed: small all_gather: %.1f us of the host, %.1f us in all\n", each_us(issued),
                each_us(finished));
}

}  // namespace orrery
