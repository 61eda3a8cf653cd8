// Times the memory-bound kernels at the shapes of a 720p clip (24 latent frames of 44 x 80 tokens) in the 2B
// model, and the adaln ones at the width of the 14B model.
#include <ATen/Context.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "gpu_speed.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

class FusedSpeed : public testing::Test {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

 protected:
  // Random bits cost power that zeros do not.
  static at::Tensor random(at::IntArrayRef shape, at::ScalarType dtype = at::kBFloat16) {
    return at::randn(shape, at::TensorOptions().device(at::kCUDA).dtype(dtype));
  }

  static void modulated(int64_t width, int64_t modulated_frames) {
    constexpr int64_t kFrames = 24, kHeight = 44, kWidth = 80;
    const at::Tensor x = random({1, kFrames, kHeight, kWidth, width}), y = random(x.sizes());
    const at::Tensor modulation = random({1, modulated_frames, 1, 1, 3 * width});
    const std::vector<at::Tensor> parts = modulation.chunk(3, -1);
    const size_t bytes = x.nbytes();
    std::printf("speed: width %lld, %lld rows of modulation\n", static_cast<long long>(width),
                static_cast<long long>(modulated_frames));
    const SpeedTable table(at::empty_like(x), x);
    table.row("adaln", 2 * bytes, [&] { kernels::cuda::adaln(x, parts[0], parts[1], 1e-6); });
    const auto [out, mean, rstd] = kernels::cuda::adaln(x, parts[0], parts[1], 1e-6);
    const kernels::cpu::AdaLNSaved saved{.x = x,
                                         .scale = parts[0],
                                         .mean = mean,
                                         .rstd = rstd,
                                         .shift_shape = parts[1].sizes(),
                                         .wants_dx = true,
                                         .wants_dscale = true,
                                         .wants_dshift = true};
    table.row("adaln backward", 3 * bytes, [&] { kernels::cuda::adaln_backward(y, saved); });
    table.row("gated_add", 3 * bytes, [&] { kernels::cuda::gated_add(x, parts[2], y); });
    const kernels::cpu::GatedAddSaved gated{
        .gate = parts[2], .y = y, .gate_shape = parts[2].sizes(), .wants_dgate = true, .wants_dy = true};
    table.row("gated_add backward", 3 * bytes, [&] { kernels::cuda::gated_add_backward(x, gated); });
  }
};

TEST_F(FusedSpeed, of_modulation_at_2b) {
  modulated(2048, 24);
  modulated(2048, 1);
}

TEST_F(FusedSpeed, of_modulation_at_14b) {
  modulated(5120, 24);
}

TEST_F(FusedSpeed, of_heads) {
  const at::Tensor x = random({1, 84480, 16, 128}), dout = random(x.sizes()),
                   weight = random({128}, at::kFloat);
  const at::Tensor angles = random({84480, 64}, at::kFloat), cos = angles.cos(), sin = angles.sin();
  const size_t bytes = x.nbytes();
  const SpeedTable table(at::empty_like(x), x);
  table.row("rms_norm", 2 * bytes, [&] { kernels::cuda::rms_norm(x, weight, 1e-6); });
  const at::Tensor rstd = kernels::cuda::rms_norm(x, weight, 1e-6).rstd;
  const kernels::cpu::RmsNormSaved saved{
      .x = x, .weight = weight, .rstd = rstd, .wants_dx = true, .wants_dweight = true};
  table.row("rms_norm backward", 3 * bytes, [&] { kernels::cuda::rms_norm_backward(dout, saved); });
  table.row("rope", 2 * bytes, [&] { kernels::cuda::rope(x, cos, sin); });
  table.row("rope inverse", 2 * bytes, [&] { kernels::cuda::rope_inverse(x, cos, sin); });
  for (const int64_t receivers : {1, 4}) {
    const kernels::HeadTurn turn{cos, sin, {.receivers = receivers, .groups = 1}};
    const at::Tensor split = split_heads(dout, turn.split);
    std::printf("speed: heads for %lld receivers\n", static_cast<long long>(receivers));
    table.row("rms_norm_rope", 2 * bytes, [&] { kernels::cuda::rms_norm_rope(x, weight, 1e-6, turn); });
    table.row("rms_norm_rope backward", 3 * bytes,
              [&] { kernels::cuda::rms_norm_rope_backward(split, saved, turn); });
  }
}

TEST_F(FusedSpeed, of_gelu) {
  const at::Tensor x = random({84480, 8192}), dout = random(x.sizes());
  const size_t bytes = x.nbytes();
  const SpeedTable table(at::empty_like(x), x);
  table.row("gelu", 2 * bytes, [&] { kernels::cuda::gelu(x); });
  table.row("gelu in ATen", 2 * bytes, [&] { at::gelu(x); });
  table.row("gelu backward", 3 * bytes, [&] { kernels::cuda::gelu_backward(dout, x); });
  table.row("gelu backward in ATen", 3 * bytes, [&] { at::gelu_backward(dout, x); });
}

}  // namespace
}  // namespace orrery
