// Training and generation on a CUDA device: the same as on the CPU, and the same bits every time.
#include "train/step.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <iostream>

#include "autograd/save_policy.h"
#include "base/numerics.h"
#include "infer/generate.h"
#include "train/trainee.h"

namespace orrery {
namespace {

class CudaTraining : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  void TearDown() override { set_deterministic(false); }

  static Config on(Device device, Dtype dtype = Dtype::float32) {
    Config config = test::small_config(10, 4);
    config.sample.steps = 10;
    config.numerics.device = device;
    config.numerics.dtype = dtype;
    return config;
  }
};

void expect_near_weights(const test::Trainee& a, const test::Trainee& b, double tolerance) {
  const auto &wa = a.model.fsdp().weights(), &wb = b.model.fsdp().weights();
  for (size_t i = 0; i < wa.size(); ++i) {
    const at::Tensor want = wa[i].local.cpu().to(at::kDouble), got = wb[i].local.cpu().to(at::kDouble);
    EXPECT_LE((got - want).norm().item().toDouble(), tolerance * (want.norm().item().toDouble() + 1))
        << wa[i].name;
  }
}

TEST_F(CudaTraining, follows_the_cpu_in_float64) {
  test::Trainee host(on(Device::cpu, Dtype::float64)), card(on(Device::cuda, Dtype::float64));
  for (int64_t i = 0; i < 6; ++i) {
    const double want = host.train(i, i + 1);
    EXPECT_NEAR(card.train(i, i + 1), want, 1e-9 * want) << "step " << i;
  }
  expect_near_weights(host, card, 1e-8);
}

TEST_F(CudaTraining, follows_the_cpu_in_float32) {
  constexpr int64_t kSteps = 50;
  Config config = on(Device::cpu);
  config.train.steps = kSteps;
  test::Trainee host(config);
  config.numerics.device = Device::cuda;
  test::Trainee card(config);
  double worst = 0;
  for (int64_t i = 0; i < kSteps; ++i) {  // rounding differences grow as training goes on
    const double want = host.train(i, i + 1), got = card.train(i, i + 1);
    EXPECT_NEAR(got, want, (i < 6 ? 1e-4 : 1e-3) * want) << "step " << i;
    worst = std::max(worst, std::abs(got / want - 1));
  }
  std::cout << kSteps << " steps, worst relative difference of a loss " << worst << "\n";
}

TEST_F(CudaTraining, bfloat16_follows_the_float32_loss) {
  test::Trainee exact(on(Device::cuda)), rounded(on(Device::cuda, Dtype::bfloat16));
  const double want = exact.train(0, 10);
  EXPECT_NEAR(rounded.train(0, 10), want, 0.02 * want);
}

TEST_F(CudaTraining, full_recompute_gives_the_same_bits) {
  set_deterministic(true);
  test::Trainee keeping(on(Device::cuda)), recomputing(on(Device::cuda));
  for (const auto& block : recomputing.net().blocks)
    block->save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
  EXPECT_EQ(keeping.train(0, 6), recomputing.train(0, 6));
  test::expect_same_weights(keeping, recomputing);
}

TEST_F(CudaTraining, a_second_run_gives_the_same_bits) {
  set_deterministic(true);
  test::Trainee first(on(Device::cuda, Dtype::bfloat16)), second(on(Device::cuda, Dtype::bfloat16));
  EXPECT_EQ(first.train(0, 6), second.train(0, 6));
  test::expect_same_weights(first, second);
}

// With more keys than one block of cuDNN's backward has, whose default adds up dq in any order.
TEST_F(CudaTraining, a_second_run_of_2304_tokens_gives_the_same_bits) {
  set_deterministic(true);
  const Config config = on(Device::cuda, Dtype::bfloat16);
  test::Trainee first(config), second(config);
  const flow::FlowBatch batch = first.drawn({2, 16, 9, 32, 32});
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_EQ(first.step.on_drawn(batch, 2, i).loss, second.step.on_drawn(batch, 2, i).loss) << "step " << i;
  test::expect_same_weights(first, second);
}

TEST_F(CudaTraining, generates_the_films_of_the_cpu) {
  test::Trainee host(on(Device::cpu)), card(on(Device::cuda));
  const auto film = [](const test::Trainee& t) {
    const Generator generator(t.config, t.net(), denoiser_of(t.net()), t.tokenizer, *t.text);
    return generator(test::scene_film(1).unsqueeze(0), {"the red ball falls"}, {5}).to(at::kDouble);
  };
  const at::Tensor want = film(host), difference = (film(card) - want).abs();
  EXPECT_GT(want.std().item().toDouble(), 1) << "an empty film proves nothing";
  EXPECT_LE(difference.max().item().toDouble(), 1);  // a grey level, where rounding tips over
  EXPECT_LE(difference.mean().item().toDouble(), 0.01);
}

}  // namespace
}  // namespace orrery
