#include "flow/objective.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "flow/generate.h"
#include "ops/elementwise.h"

namespace orrery::flow {
namespace {

at::Tensor random(const char* name, at::IntArrayRef shape) {
  return Rng(11, name).normal_tensor(shape);
}

// Two clips of 4 frames; the first gives one frame, the second none.
FlowBatch video_batch() {
  const at::Tensor sigmas = at::tensor({0.25f, 0.75f}).unsqueeze(1);
  return {.x0 = random("x0", {2, 3, 4, 2, 2}),
          .noise = random("noise", {2, 3, 4, 2, 2}),
          .times = {.t = {}, .sigmas = sigmas, .timesteps = sigmas * 1000},
          .num_condition_frames = at::tensor({int64_t{1}, int64_t{0}}, at::kLong),
          .text = at::zeros({2, 1, 1})};
}

TEST(Objective, network_sees_the_interpolated_clip_with_given_frames) {
  const FlowBatch batch = video_batch();
  const auto net = [](const DenoiserInput& in) { return in.x; };
  const FlowLoss out = flow_loss({.condition_timestep = 0.1}, net, batch);
  EXPECT_TRUE(at::allclose(out.x_t[0], 0.25 * batch.noise[0] + 0.75 * batch.x0[0]));
  EXPECT_TRUE(at::equal(out.inputs.x.value()[0].slice(1, 0, 1), batch.x0[0].slice(1, 0, 1)));
  EXPECT_TRUE(at::equal(out.inputs.x.value()[0].slice(1, 1), out.x_t[0].slice(1, 1)));
  EXPECT_TRUE(at::equal(out.inputs.x.value()[1], out.x_t[1]));
  EXPECT_TRUE(at::equal(out.inputs.timesteps.value(),
                        at::tensor({0.1f, 250.f, 250.f, 250.f, 750.f, 750.f, 750.f, 750.f}).view({2, 4})));
  EXPECT_EQ(out.inputs.condition_mask.sizes(), (std::vector<int64_t>{2, 1, 4, 2, 2}));
}

TEST(Objective, the_true_velocity_has_no_loss) {
  const FlowBatch batch = video_batch();
  const auto net = [&](const DenoiserInput&) { return Variable(batch.noise - batch.x0); };
  EXPECT_LT(flow_loss({}, net, batch).loss.value().item<double>(), 1e-12);
}

TEST(Objective, given_frames_count_but_pass_no_gradient) {
  const FlowBatch batch = video_batch();
  Variable offset(at::full({2, 3, 4, 2, 2}, 0.5f), true);
  const auto net = [&](const DenoiserInput&) { return ops::add(Variable(batch.noise - batch.x0), offset); };
  Recording recording;
  const FlowLoss out = flow_loss({}, net, batch);
  EXPECT_TRUE(at::allclose(out.per_sample.value(), at::tensor({0.25f * 3 / 4, 0.25f})));
  recording.backward(out.loss);
  const at::Tensor wanted = at::full({2, 3, 4, 2, 2}, 2 * 0.5f / 96);
  wanted[0].slice(1, 0, 1).zero_();
  EXPECT_TRUE(at::allclose(offset.grad(), wanted));
}

TEST(Objective, without_replacement_given_frames_are_predicted) {
  const FlowBatch batch = video_batch();
  const auto net = [&](const DenoiserInput& in) {
    EXPECT_TRUE(at::equal(in.x.value()[0].slice(1, 0, 1), at::zeros({3, 1, 2, 2})));
    return Variable(batch.noise - batch.x0 + 1);
  };
  const FlowLoss out = flow_loss({.replace_condition = false, .use_video_condition = false}, net, batch);
  EXPECT_NEAR(out.loss.value().item<double>(), 1, 1e-6);
}

TEST(Objective, images_have_no_condition) {
  FlowBatch batch = video_batch();
  batch.kind = BatchKind::image;
  batch.num_condition_frames.reset();
  const auto net = [&](const DenoiserInput& in) {
    EXPECT_FALSE(in.condition_mask.defined());
    EXPECT_EQ(in.timesteps.shape(), (Shape{2, 1}));
    return Variable(batch.noise - batch.x0 + 1);
  };
  EXPECT_NEAR(flow_loss({.condition_timestep = 0.1}, net, batch).loss.value().item<double>(), 1, 1e-6);
}

TEST(Objective, bfloat16_enters_the_network_and_float32_the_loss) {
  const FlowBatch batch = video_batch();
  const auto net = [&](const DenoiserInput& in) {
    EXPECT_EQ(in.x.dtype(), at::kBFloat16);
    EXPECT_EQ(in.timesteps.dtype(), at::kFloat);
    return in.x;
  };
  const FlowLoss out = flow_loss({.precision = at::kBFloat16, .condition_timestep = 0.1}, net, batch);
  EXPECT_EQ(out.velocity.dtype(), at::kFloat);
  EXPECT_EQ(out.loss.dtype(), at::kFloat);
  EXPECT_EQ(out.inputs.timesteps.value()[0][0].item<float>(), 0.10009765625f);
  const at::Tensor residue =
      (batch.x0[0].slice(1, 0, 1).to(at::kBFloat16).to(at::kFloat) - batch.x0[0].slice(1, 0, 1));
  const at::Tensor off = (out.velocity.value() - out.target)[0].slice(1, 0, 1);
  EXPECT_TRUE(at::allclose(off, -residue, 0, 1e-6)) << "given frames keep the rounding of x0 only";
}

TEST(Objective, noise_of_a_sample_does_not_depend_on_the_rank) {
  const std::vector<int64_t> all = {0, 1, 2, 3}, some = {1, 3};
  const at::Tensor whole = draw_noise(5, 9, all, {2, 3}), part = draw_noise(5, 9, some, {2, 3});
  EXPECT_TRUE(at::equal(whole[1], part[0]));
  EXPECT_TRUE(at::equal(whole[3], part[1]));
  EXPECT_FALSE(at::equal(whole, draw_noise(5, 10, all, {2, 3})));
}

TEST(Objective, noise_of_large_and_small_samples_is_that_of_their_streams) {
  for (const int64_t size : {100, 1 << 17}) {
    const std::vector<int64_t> samples = {3, 7, 11};
    const at::Tensor noise = draw_noise(5, 9, samples, {2, size});
    for (int64_t i = 0; i < 3; ++i) {
      const Rng rng(5, "flow.noise", {9, static_cast<uint64_t>(samples[static_cast<size_t>(i)])});
      EXPECT_TRUE(at::equal(noise[i], rng.normal_tensor({2, size}))) << size;
    }
  }
}

TEST(Objective, inconsistent_batches_are_refused) {
  const auto net = [](const DenoiserInput& in) { return in.x; };
  FlowBatch batch = video_batch();
  batch.noise = batch.noise.slice(0, 1);
  EXPECT_THROW(flow_loss({}, net, batch), Error);
  batch = video_batch();
  batch.num_condition_frames.reset();
  EXPECT_THROW(flow_loss({}, net, batch), Error);
  batch = video_batch();
  batch.x0 = batch.x0.to(at::kBFloat16);
  EXPECT_THROW(flow_loss({}, net, batch), Error);
  EXPECT_THROW(flow_loss(
                   {}, [](const DenoiserInput&) { return Variable(at::ones({1})); }, video_batch()),
               Error);
}

TEST(Generate, given_frames_follow_the_straight_path) {
  const at::Tensor x0 = random("x0", {1, 2, 4, 2, 2}), noise = random("noise", {1, 2, 4, 2, 2});
  const auto net = [](const DenoiserInput& in) {
    EXPECT_EQ(in.timesteps.shape(), (Shape{1, 4}));
    return ops::scale(in.x, 0.1);
  };
  GenerateConfig config{.sigmas = Sigmas::karras, .steps = 6, .condition_frames = 2};
  config.denoise.condition_timestep = 0.1;
  const at::Tensor out = generate_latent(
      config, net, {.noise = noise, .x0 = x0, .text = at::zeros({1, 1, 1}), .negative_text = {}});
  // The path starts from pure noise at a first level just below 1, so that much noise stays.
  const at::Tensor wanted = x0 + (1 - karras_levels(6).sigmas[0]) * (noise - x0);
  EXPECT_TRUE(at::allclose(out.slice(2, 0, 2), wanted.slice(2, 0, 2), 1e-5, 1e-5));
  EXPECT_FALSE(at::allclose(out.slice(2, 2), wanted.slice(2, 2), 1e-1, 1e-1));
}

TEST(Generate, guidance_compares_text_with_negative_text) {
  const at::Tensor noise = random("noise", {1, 1, 2, 1, 1});
  const auto net = [](const DenoiserInput& in) { return Variable(in.x.value() * 0 + in.text); };
  const auto run = [&](double guidance, at::Tensor negative) {
    return generate_latent(
        {.sampler = SamplerKind::euler, .steps = 3, .guidance = guidance, .condition_frames = 0}, net,
        {.noise = noise, .x0 = {}, .text = at::full({1, 1, 1}, 2.f), .negative_text = negative});
  };
  const double span = linear_levels(3, 5).sigmas[0];
  EXPECT_TRUE(at::allclose(run(3, {}), noise - span * (2 + 3 * 2))) << "no negative prompt: zeros";
  EXPECT_TRUE(at::allclose(run(3, at::full({1, 1, 1}, 1.5f)), noise - span * (2 + 3 * 0.5)));
  EXPECT_TRUE(at::allclose(run(0, {}), noise - span * 2));
}

TEST(Generate, bad_requests_are_refused) {
  const auto net = [](const DenoiserInput& in) { return in.x; };
  const at::Tensor noise = at::zeros({1, 1, 2, 1, 1}), text = at::zeros({1, 1, 1});
  const auto run = [&](int64_t frames, at::Tensor x0, at::Tensor negative) {
    return generate_latent({.steps = 2, .condition_frames = frames}, net,
                           {.noise = noise, .x0 = x0, .text = text, .negative_text = negative});
  };
  EXPECT_THROW(run(1, {}, {}), Error);
  EXPECT_THROW(run(-1, noise, {}), Error);
  EXPECT_THROW(run(1, at::zeros({1, 1, 3, 1, 1}), {}), Error);
  EXPECT_THROW(run(1, noise, at::zeros({1, 2, 1})), Error);
}

}  // namespace
}  // namespace orrery::flow
