// The CUDA update of AdamW and the averages beside it, against the float64 update on the CPU.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "optim/adamw.h"
#include "optim/ema.h"
#include "optim/one_pass.h"

namespace orrery {
namespace {

constexpr AdamWConfig kConfig{.weight_decay = 0.1};
// One element, odd counts, a chunk of the kernel and one more, several chunks, and nothing.
const std::vector<int64_t> kCounts = {1, 33, 4096, 4097, 20000, 0, 130};

// Largest |got - want| / (|want| + 1): float32 steps of 2^-24, some in each of a few updates.
double error(const at::Tensor& got, const at::Tensor& want) {
  if (want.numel() == 0) return 0;
  const at::Tensor g = got.cpu().to(at::kDouble), w = want.cpu().to(at::kDouble);
  return ((g - w).abs() / (w.abs() + 1)).max().item<double>();
}
constexpr double kRoundings = 1e-6;

// The same values whatever the device and type. offset: elements that lie before each in its storage.
std::vector<NamedTensor> weights_of(c10::Device device, at::ScalarType type, at::ScalarType start,
                                    int64_t offset, int64_t copies) {
  std::vector<NamedTensor> weights;
  for (int64_t c = 0; c < copies; ++c)
    for (const int64_t count : kCounts) {
      const auto number = static_cast<uint64_t>(weights.size());
      const at::Tensor storage = at::zeros({count + offset}, at::TensorOptions().device(device).dtype(type));
      const at::Tensor weight = storage.narrow(0, offset, count);
      weight.copy_(Rng(1, "weight", {number}).normal_tensor({count}).to(start));
      weights.push_back({"w" + std::to_string(number), weight});
    }
  return weights;
}

struct Trainee {
  std::vector<NamedTensor> weights;
  std::unique_ptr<AdamW> adamw;

  Trainee(c10::Device device, at::ScalarType type, at::ScalarType start, int64_t offset = 0,
          int64_t copies = 1)
      : weights(weights_of(device, type, start, offset, copies)),
        adamw(std::make_unique<AdamW>(kConfig, weights)) {}

  // Gradients rounded to `type`, passed on as `passed`.
  void steps(int count, at::ScalarType type, at::ScalarType passed) {
    for (int i = 0; i < count; ++i) {
      std::vector<at::Tensor> grads;
      for (size_t k = 0; k < weights.size(); ++k)
        grads.push_back(Rng(2, "grad", {k, static_cast<uint64_t>(i)})
                            .normal_tensor(weights[k].tensor.sizes())
                            .to(type)
                            .to(weights[k].tensor.device())
                            .to(passed));
      adamw->step(grads, 0.01 / (i + 1));
    }
  }
};

class CudaAdamW : public testing::Test {
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

 protected:
  const c10::Device cuda{at::kCUDA, 0}, cpu{at::kCPU};

  static void expect_alike(const Trainee& got, const Trainee& want) {
    const auto a = got.adamw->state(), b = want.adamw->state();
    for (size_t i = 0; i < got.weights.size(); ++i)
      EXPECT_LT(error(got.weights[i].tensor, want.weights[i].tensor), kRoundings) << "weight " << i;
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_LT(error(a[i].tensor, b[i].tensor), kRoundings) << a[i].name << " and " << b[i].name;
  }
};

TEST_F(CudaAdamW, float32_follows_the_float64_update_for_gradients_of_any_type) {
  for (const at::ScalarType grads : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    SCOPED_TRACE(c10::toString(grads));
    Trainee got(cuda, at::kFloat, at::kFloat), want(cpu, at::kDouble, at::kFloat);
    got.steps(5, grads, grads);
    want.steps(5, grads, at::kDouble);
    expect_alike(got, want);
  }
}

TEST_F(CudaAdamW, unaligned_shards_and_more_tensors_than_a_launch_takes) {
  Trainee got(cuda, at::kFloat, at::kFloat, /*offset=*/1, /*copies=*/20);
  Trainee want(cpu, at::kDouble, at::kFloat, 0, /*copies=*/20);
  got.steps(2, at::kFloat, at::kFloat);
  want.steps(2, at::kFloat, at::kDouble);
  expect_alike(got, want);
}

TEST_F(CudaAdamW, bfloat16_weights_are_their_masters_rounded) {
  Trainee got(cuda, at::kBFloat16, at::kBFloat16), want(cpu, at::kDouble, at::kBFloat16);
  got.steps(5, at::kBFloat16, at::kBFloat16);
  want.steps(5, at::kBFloat16, at::kDouble);
  size_t masters = 0;
  for (const NamedTensor& state : got.adamw->state()) {
    if (!state.name.starts_with("master.")) continue;
    EXPECT_LT(error(state.tensor, want.weights[masters].tensor), kRoundings) << state.name;
    EXPECT_TRUE(at::equal(state.tensor.to(at::kBFloat16), got.weights[masters].tensor)) << state.name;
    ++masters;
  }
  EXPECT_EQ(masters, got.weights.size());
}

TEST_F(CudaAdamW, second_moment_keeps_one_minus_beta2_exact) {
  at::Tensor weight = at::zeros({8}, at::TensorOptions().device(cuda).dtype(at::kFloat));
  AdamW adamw(kConfig, {{"w", weight}});
  adamw.step({at::ones({8}, weight.options())}, 0.01);
  const double second =
      adamw.state()[1].tensor[0].item<double>();  // 1 - 0.999 of float32 would be 1.3e-5 off
  EXPECT_NEAR(second / (1 - kConfig.beta2), 1, 1e-7);
}

TEST_F(CudaAdamW, runs_twice_to_the_same_bits_and_leaves_what_has_no_gradient) {
  Trainee first(cuda, at::kFloat, at::kFloat), second(cuda, at::kFloat, at::kFloat);
  first.steps(3, at::kFloat, at::kFloat);
  second.steps(3, at::kFloat, at::kFloat);
  for (size_t i = 0; i < first.weights.size(); ++i)
    EXPECT_TRUE(at::equal(first.weights[i].tensor, second.weights[i].tensor)) << "weight " << i;
  const at::Tensor kept = first.weights[1].tensor.clone();
  std::vector<at::Tensor> grads(first.weights.size());
  grads[0] = at::ones({1}, kept.options());
  first.adamw->step(grads, 0.1);
  EXPECT_TRUE(at::equal(first.weights[1].tensor, kept));
  EXPECT_FALSE(at::equal(first.weights[0].tensor, second.weights[0].tensor));
}

// Three clipped steps, each without the gradients of one weight in five.
struct OnePassCase {
  at::ScalarType weights, grads;
  bool masters;
  EmaConfig ema;
  int64_t offset, copies;

  bool is_fused() const { return weights == at::kFloat || masters; }
  test::Stepper stepper(c10::Device device) const {
    AdamWConfig config = kConfig;
    config.master_weights = masters;
    return {config, ema, weights_of(device, weights, at::kFloat, offset, copies)};
  }
  void run(c10::Device device) const {
    SCOPED_TRACE(testing::Message() << weights << ", gradients " << grads << ", masters " << masters
                                    << ", average " << static_cast<int>(ema.kind) << ", offset " << offset);
    const auto drawn = weights_of(device, grads, at::kFloat, offset, copies);
    test::Stepper got = stepper(device), want = stepper(device);
    for (int64_t i = 0; i < 3; ++i) {
      std::vector<at::Tensor> values;
      for (int64_t k = 0; k < std::ssize(drawn); ++k)
        values.push_back((k + i) % 5 == 4 ? at::Tensor() : drawn[static_cast<size_t>(k)].tensor);
      const DueAverages left = got.in_one(values, 0.01, i);
      want.in_passes(values, 0.01, i);
      for (size_t k = 0; k < values.size() && is_fused() && left.beta > 0; ++k)
        EXPECT_FALSE(left.tensors[k].defined() && values[k].defined()) << "average " << k;
    }
    test::expect_same_bits(got, want);
  }
};

TEST_F(CudaAdamW, scales_and_averages_in_its_pass_to_the_bits_of_passes_of_their_own) {
  for (const EmaConfig& ema : test::kAverages)
    for (const int64_t offset : {0, 1})
      for (const at::ScalarType grads : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
        OnePassCase{at::kFloat, grads, true, ema, offset, 1}.run(cuda);
        OnePassCase{at::kBFloat16, grads, true, ema, offset, 1}.run(cuda);
        OnePassCase{at::kBFloat16, grads, false, ema, offset, 1}.run(cuda);
      }
}

TEST_F(CudaAdamW, scales_and_averages_more_tensors_than_a_launch_takes) {
  OnePassCase{at::kFloat, at::kFloat, true, test::kAverages[1], 1, 15}.run(cuda);
  OnePassCase{at::kBFloat16, at::kBFloat16, true, test::kAverages[1], 0, 15}.run(cuda);
}

TEST_F(CudaAdamW, averages_follow_those_on_the_cpu) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf})
    for (const double decay : {0.9, 0.3})
      for (const int64_t offset : {0, 1}) {
        const auto averages = [&](c10::Device device) {
          const auto weights = weights_of(device, type, type, offset, /*copies=*/20);
          AveragedWeights averaged({.kind = Ema::constant, .decay = decay}, weights);
          for (int64_t i = 0; i < 3; ++i) {
            for (const NamedTensor& weight : weights) weight.tensor.add_(1);
            averaged.update(i);
          }
          return averaged.averages();
        };
        const auto got = averages(cuda), want = averages(cpu);
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_LT(error(got[i].tensor, want[i].tensor), kRoundings)
              << type << ' ' << got[i].name << ", decay " << decay << ", offset " << offset;
      }
}

}  // namespace
}  // namespace orrery
