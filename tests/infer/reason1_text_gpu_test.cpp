// The Reason1 text encoder on a CUDA device: near the CPU's embedding, and the time of a prompt at 7B.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "base/numerics.h"
#include "gpu_speed.h"
#include "infer/reason1_text.h"
#include "model/layer_join.h"
#include "random_weights.h"

namespace orrery {
namespace {

class Reason1OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    forbid_reduced_precision();
  }
  const c10::InferenceMode guard;
};

double distance(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor w = want.cpu().to(at::kDouble);
  return ((got.cpu().to(at::kDouble) - w).norm() / w.norm()).item<double>();
}

// In float32 up to the order of sums; in bfloat16 within twice the CPU's own distance from float32, plus its
// unit.
TEST_F(Reason1OnGpu, embeds_as_the_cpu_does) {
  const QwenTextConfig config = {.vocab_size = 400,
                                 .hidden_size = 256,
                                 .intermediate_size = 512,
                                 .num_hidden_layers = 4,
                                 .num_attention_heads = 8,
                                 .num_key_value_heads = 2};
  const at::Tensor ids = at::empty({2, 512}, at::kLong).random_(400);
  Reason1Net exact("model", config);
  exact.materialize(at::kCPU, at::kFloat);
  exact.initialize(3);
  const auto embed = [&](at::Device device, at::ScalarType type) {
    Reason1Net net("model", config);
    net.materialize(device, type);
    const auto from = exact.parameters(), to = net.parameters();
    for (size_t i = 0; i < to.size(); ++i) at::Tensor(to[i]->value()).copy_(from[i]->value());
    return join_layers(net.text.hidden_states(ids.to(device)), LayerJoin::full_concat, 1);
  };
  const at::Device gpu(at::kCUDA, 0);
  const at::Tensor want = embed(at::kCPU, at::kFloat);
  EXPECT_LE(distance(embed(gpu, at::kFloat), want), 1e-5);
  const double rounding = distance(embed(at::kCPU, at::kBFloat16), want);
  EXPECT_LE(distance(embed(gpu, at::kBFloat16), want), 2 * rounding + 0.004);
}

TEST_F(Reason1OnGpu, Speed_of_a_prompt_at_7b) {
  const at::Device gpu(at::kCUDA, 0);
  Reason1Net net("model", QwenTextConfig());
  net.materialize(gpu, at::kBFloat16);
  test::draw_weights(net);
  const at::Tensor ids = at::empty({1, 512}, at::device(gpu).dtype(at::kLong)).random_(151643);
  const double ms = median_ms([&] { join_layers(net.text.hidden_states(ids), LayerJoin::full_concat, 1); });
  std::printf("speed: reason1 7B, one prompt of 512 tokens: %.1f ms, %.0f TFLOP/s of linear layers\n", ms,
              6.68e3 / ms);
}

}  // namespace
}  // namespace orrery
