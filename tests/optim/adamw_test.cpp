#include "optim/adamw.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "optim/one_pass.h"

namespace orrery {
namespace {

at::Tensor random(const char* name, at::IntArrayRef shape) {
  return Rng(3, name).normal_tensor(shape);
}

// The update in float64, from the paper: algorithm 2 with the learning rate as the schedule's factor.
struct Twin {
  at::Tensor w, m, v;
  int64_t t = 0;
  explicit Twin(const at::Tensor& weight)
      : w(weight.to(at::kDouble)),
        m(at::zeros(w.sizes(), at::kDouble)),
        v(at::zeros(w.sizes(), at::kDouble)) {}
  void step(const AdamWConfig& c, const at::Tensor& grad, double lr, double decay) {
    const at::Tensor g = grad.to(at::kDouble);
    ++t;
    w = w * (1 - lr * decay);
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    const double correct1 = 1 - std::pow(c.beta1, t), correct2 = 1 - std::pow(c.beta2, t);
    w = w - lr * (m / correct1) / ((v / correct2).sqrt() + c.eps);
  }
};

TEST(AdamW, float32_follows_the_float64_twin) {
  const AdamWConfig config{.weight_decay = 0.1, .no_decay = {"*.bias"}};
  at::Tensor weight = random("w", {37, 5}), bias = random("b", {}).clone();
  Twin twin_weight(weight), twin_bias(bias);
  AdamW adamw(config, {{"a.weight", weight}, {"a.bias", bias}});
  for (uint64_t i = 0; i < 20; ++i) {
    const at::Tensor dw = Rng(1, "dw", {i}).normal_tensor({37, 5}), db = Rng(1, "db", {i}).normal_tensor({});
    const double lr = 0.01 / static_cast<double>(i + 1);
    adamw.step({dw, db}, lr);
    twin_weight.step(config, dw, lr, 0.1);
    twin_bias.step(config, db, lr, 0);
  }
  EXPECT_TRUE(at::allclose(weight.to(at::kDouble), twin_weight.w, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(bias.to(at::kDouble), twin_bias.w, 1e-5, 1e-6));
}

TEST(AdamW, masters_gather_updates_that_bfloat16_would_lose) {
  // lr 1e-4 against weights of 1: a bfloat16 step is 2^-8, so single updates round away.
  const auto moved = [](bool masters) {
    at::Tensor weight = at::ones({8}, at::kBFloat16);
    AdamW adamw({.master_weights = masters, .weight_decay = 0}, {{"w", weight}});
    for (int i = 0; i < 100; ++i) adamw.step({at::ones({8}, at::kBFloat16)}, 1e-4);
    return 1 - weight[0].item<double>();
  };
  EXPECT_NEAR(moved(true), 0.01, 0.004);
  EXPECT_EQ(moved(false), 0);
}

TEST(AdamW, reference_mode_keeps_bfloat16_moments) {
  at::Tensor weight = random("w", {8}).to(at::kBFloat16);
  const AdamW plain({.master_weights = false}, {{"w", weight}});
  const std::vector<NamedTensor> state = plain.state();
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state[0].tensor.scalar_type(), at::kBFloat16);
  const AdamW with_masters({}, {{"w", weight}});
  ASSERT_EQ(with_masters.state().size(), 4u);
  EXPECT_EQ(with_masters.state()[3].name, "master.w");
  EXPECT_EQ(with_masters.state()[0].tensor.scalar_type(), at::kFloat);
}

TEST(AdamW, state_copied_into_another_resumes_bit_for_bit) {
  const auto grads = [](uint64_t i) {
    return std::vector<at::Tensor>{Rng(1, "g", {i}).normal_tensor({9}).to(at::kBFloat16)};
  };
  at::Tensor weight = random("w", {9}).to(at::kBFloat16);
  AdamW adamw({}, {{"w", weight}});
  for (uint64_t i = 0; i < 5; ++i) adamw.step(grads(i), 1e-2);
  at::Tensor copy = weight.clone();
  AdamW resumed({}, {{"w", copy}});
  const std::vector<NamedTensor> from = adamw.state(), to = resumed.state();
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    to[i].tensor.copy_(from[i].tensor);
  }
  for (uint64_t i = 5; i < 10; ++i) {
    adamw.step(grads(i), 1e-2);
    resumed.step(grads(i), 1e-2);
  }
  EXPECT_TRUE(at::equal(weight, copy));
}

TEST(AdamW, weights_without_gradient_stay) {
  at::Tensor a = at::ones({3}), b = at::ones({3}), empty = at::ones({0});
  AdamW adamw({}, {{"a", a}, {"b", b}, {"empty", empty}});
  adamw.step({at::ones({3}), {}, at::ones({0})}, 0.1);
  EXPECT_NE(a[0].item<float>(), 1);
  EXPECT_EQ(b[0].item<float>(), 1);
  EXPECT_EQ(adamw.state()[5].tensor.item<float>(), 0) << "its count of steps does not advance";
}

TEST(AdamW, gradients_are_left_as_they_were) {
  at::Tensor weight = at::ones({3}), grad = at::full({3}, 2.f);
  AdamW adamw({}, {{"w", weight}});
  adamw.step({grad}, 0.1);
  EXPECT_TRUE(at::equal(grad, at::full({3}, 2.f)));
}

TEST(AdamW, scale_and_averages_in_the_step_give_the_bits_of_passes_of_their_own) {
  struct Types {
    at::ScalarType weights, grads;
    bool masters;
  };
  const Types all[] = {{at::kFloat, at::kFloat, true},     {at::kFloat, at::kBFloat16, true},
                       {at::kBFloat16, at::kFloat, true},  {at::kBFloat16, at::kBFloat16, true},
                       {at::kBFloat16, at::kFloat, false}, {at::kBFloat16, at::kBFloat16, false},
                       {at::kDouble, at::kDouble, true}};
  for (const Types& types : all)
    for (const EmaConfig& ema : test::kAverages) {
      SCOPED_TRACE(testing::Message() << types.weights << ", gradients " << types.grads << ", masters "
                                      << types.masters << ", average " << static_cast<int>(ema.kind));
      const auto make = [&] {
        std::vector<NamedTensor> weights;
        for (const char* name : {"a", "b", "c"})
          weights.push_back({name, random(name, {19, 3}).to(types.weights, false, /*copy=*/true)});
        return test::Stepper({.master_weights = types.masters, .no_decay = {"b"}}, ema, std::move(weights));
      };
      test::Stepper got = make(), want = make();
      for (uint64_t i = 0; i < 4; ++i) {
        std::vector<at::Tensor> grads;
        for (uint64_t k = 0; k < 3; ++k)
          grads.push_back(Rng(4, "g", {i, k}).normal_tensor({19, 3}).to(types.grads));
        if (i > 0) grads[i - 1].reset();  // its average moves nevertheless
        got.in_one(grads, 0.01, static_cast<int64_t>(i));
        want.in_passes(grads, 0.01, static_cast<int64_t>(i));
        test::expect_same_bits(got, want);
      }
    }
}

TEST(AdamW, masters_can_be_taken_from_new_weights) {
  at::Tensor weight = at::ones({3}, at::kBFloat16);
  AdamW adamw({}, {{"w", weight}});
  weight.fill_(2);
  adamw.masters_from_weights();
  adamw.step({at::zeros({3})}, 0);
  EXPECT_EQ(weight[0].item<float>(), 2);
}

TEST(AdamW, bad_input_is_refused) {
  at::Tensor weight = at::ones({3, 2});
  const auto make = [&](const AdamWConfig& config) { return AdamW(config, {{"w", weight}}); };
  EXPECT_THROW(make({.beta1 = 1}), Error);
  EXPECT_THROW(make({.eps = -1}), Error);
  EXPECT_THROW(make({.weight_decay = -1}), Error);
  EXPECT_THROW(make({.no_decay = {"bias"}}), Error) << "matches nothing";
  EXPECT_THROW(AdamW({}, {{"w", weight}, {"w", weight}}), Error);
  EXPECT_THROW(AdamW({}, {{"w", weight.t()}}), Error);
  EXPECT_THROW(AdamW({}, {{"w", at::ones({2}, at::kLong)}}), Error);
  AdamW adamw = make({});
  EXPECT_THROW(adamw.step({}, 0.1), Error);
  EXPECT_THROW(adamw.step({at::ones({2, 3})}, 0.1), Error);
  EXPECT_THROW(adamw.step({at::ones({3, 2})}, NAN), Error);
  const std::vector<at::Tensor> grads = {at::ones({3, 2})};
  EXPECT_THROW(adamw.step(grads, {.lr = 0.1, .grad_scale = INFINITY}), Error);
  const DueAverages two{.beta = 0.5, .tensors = {at::ones({3, 2}), at::ones({3, 2})}};
  EXPECT_THROW(adamw.step(grads, {.lr = 0.1, .averages = two}), Error);
  const DueAverages other_shape{.beta = 0.5, .tensors = {at::ones({6})}};
  EXPECT_THROW(adamw.step(grads, {.lr = 0.1, .averages = other_shape}), Error);
  EXPECT_TRUE(at::equal(weight, at::ones({3, 2})));
}

}  // namespace
}  // namespace orrery
