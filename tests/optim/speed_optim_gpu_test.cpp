// Times the update of a shard like the 2B model's on four GPUs: 28 blocks of ten weights, 0.5 billion
// elements.
#include <ATen/Context.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "gpu_speed.h"
#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/grad_clip.h"

namespace orrery {
namespace {

TEST(OptimSpeed, of_a_shard) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const auto on = [](at::ScalarType type) { return at::TensorOptions().device(at::kCUDA).dtype(type); };
  const std::vector<int64_t> rows = {512, 512, 512, 512, 512, 512, 512, 512, 2048, 2048};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    std::vector<NamedTensor> weights;
    std::vector<at::Tensor> grads;
    size_t elements = 0;
    for (int block = 0; block < 28; ++block)
      for (const int64_t count : rows) {
        weights.push_back({"w" + std::to_string(weights.size()), at::randn({count, 2048}, on(type))});
        grads.push_back(at::randn({count, 2048}, on(at::kFloat)));
        elements += static_cast<size_t>(grads.back().numel());
      }
    AdamW adamw({}, weights);
    const at::Tensor copied = at::randn({int64_t{1} << 28}, on(at::kFloat));
    const SpeedTable table(at::empty_like(copied), copied);
    const bool has_masters = type == at::kBFloat16;
    table.row(has_masters ? "adamw, masters, bfloat16 weights" : "adamw, float32 weights",
              elements * (has_masters ? 30 : 28), [&] { adamw.step(grads, 1e-4); });
    std::vector<NamedTensor> named;
    for (const at::Tensor& grad : grads) named.push_back({"g", grad});
    GradClip clip({.max_norm = 0});
    table.row("norms of float32 gradients", elements * 4, [&] { clip(named); });
    AveragedWeights averaged({.kind = Ema::constant}, weights);
    table.row(has_masters ? "averages of bfloat16 weights" : "averages of float32 weights",
              elements * (has_masters ? 10 : 12), [&] { averaged.update(1); });
    table.row(
        has_masters ? "adamw with scale and averages, masters" : "adamw with scale and averages, float32",
        elements * (has_masters ? 38 : 36), [&] {
          averaged.finish(adamw.step(grads, {.lr = 1e-4, .grad_scale = 0.5, .averages = averaged.due(1)}));
        });
  }
}

}  // namespace
}  // namespace orrery
