// The Wan2.1 autoencoder on a GPU against the CPU.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "model/wan_tokenizer.h"
#include "model/wan_vae_net.h"
#include "ops/kernels.h"
#include "relative_error.h"

namespace orrery {
namespace {

using test::relative_error;

std::unique_ptr<WanVae> on_gpu(at::ScalarType type, int64_t dim) {
  auto net = test::random_vae(type, dim);
  for (Parameter* p : net->parameters()) p->variable().set_value(p->value().cuda());
  return net;
}

struct WanVaeGpu : testing::TestWithParam<int64_t> {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  const int64_t dim = GetParam();
  const at::Tensor film = test::film_values({1, 3, 9, 40, 32}, at::kDouble),
                   latents = test::film_values({1, 16, 3, 5, 4}, at::kDouble);
};

TEST_P(WanVaeGpu, float32_is_the_cpus) {
  const auto net = test::random_vae(at::kFloat, dim), gpu = on_gpu(at::kFloat, dim);
  const Variable x(film.to(at::kFloat)), z(latents.to(at::kFloat));
  const Variable xg(x.value().cuda()), zg(z.value().cuda());
  for (const std::optional<int64_t> window : {std::optional<int64_t>(), std::optional<int64_t>(4)})
    EXPECT_LT(relative_error(gpu->encode(xg, window).value(), net->encode(x, 4).value()), 1e-5);
  for (const std::optional<int64_t> window : {std::optional<int64_t>(), std::optional<int64_t>(1)})
    EXPECT_LT(relative_error(gpu->decode(zg, window).value(), net->decode(z, 1).value()), 1e-5);
}

TEST_P(WanVaeGpu, bfloat16_is_as_far_from_float64_as_the_cpus) {
  const auto type = at::kBFloat16;
  const auto net = test::random_vae(type, dim), gpu = on_gpu(type, dim);
  // The same weights in float64.
  const auto exact = test::random_vae(at::kDouble, dim);
  const auto from = net->parameters(), to = exact->parameters();
  for (size_t i = 0; i < to.size(); ++i) to[i]->variable().set_value(from[i]->value().to(at::kDouble));
  const at::Tensor x = film.to(type), z = latents.to(type);
  const auto run = [&](const WanVae& vae, const at::Tensor& a, const at::Tensor& b) {
    return std::pair{vae.encode(Variable(a), 4).value(), vae.decode(Variable(b), 1).value()};
  };
  const auto want = run(*exact, x.to(at::kDouble), z.to(at::kDouble)), on_cpu = run(*net, x, z),
             got = run(*gpu, x.cuda(), z.cuda());
  EXPECT_LT(relative_error(got.first, want.first), 1.3 * relative_error(on_cpu.first, want.first));
  EXPECT_LT(relative_error(got.second, want.second), 1.3 * relative_error(on_cpu.second, want.second));
  const auto conv = kernels::cuda::fused_conv();
  EXPECT_EQ(conv.last_refusal.find("cuDNN"), std::string::npos) << conv.last_refusal;
}

INSTANTIATE_TEST_SUITE_P(Widths, WanVaeGpu, testing::Values(8, 32, 96));

TEST(WanTokenizerGpu, takes_films_of_the_host_and_gives_the_cpus_pixels) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const at::ScalarType type = at::kFloat;
  const WanTokenizer cpu(test::random_vae(type, 8), {.encode = 4, .decode = 1}),
      gpu(on_gpu(type, 8), {.encode = 8, .decode = 2});
  const at::Tensor film = (Rng(6, "bytes").uniform_tensor({2, 3, 9, 40, 32}) * 256).to(at::kByte);
  const at::Tensor latents = cpu.encode(film), on_device = gpu.encode(film);
  EXPECT_TRUE(on_device.is_cuda() && on_device.is_contiguous());
  EXPECT_LT(relative_error(on_device, latents), 1e-5);
  const at::Tensor pixels = gpu.decode(latents);
  EXPECT_TRUE(pixels.is_cpu());
  EXPECT_LE((pixels.to(at::kInt) - cpu.decode(latents).to(at::kInt)).abs().max().item<int>(), 1);
}

}  // namespace
}  // namespace orrery
