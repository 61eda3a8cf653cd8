// The network on a clip cut along time against the whole clip on one rank: velocities, losses, gradients,
// training steps with images between, and sampling.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <numeric>

#include "autograd/save_policy.h"
#include "autograd/tape.h"
#include "base/rng.h"
#include "flow/generate.h"
#include "flow/objective.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"
#include "parallel/context_split.h"
#include "parallel/ulysses.h"
#include "world.h"

namespace orrery {
namespace {

void mean_over(Comm& comm, std::vector<at::Tensor>& tensors) {
  for (at::Tensor& tensor : tensors) {
    tensor = tensor.contiguous();
    comm.all_reduce(tensor, ReduceOp::mean, "gradient").wait();
  }
}

// Latent sizes; 9 tokens a rank.
constexpr int64_t kBatch = 2, kRankFrames = 3, kRows = 2, kColumns = 6;

double tolerance(at::ScalarType dtype) {
  return dtype == at::kDouble ? 1e-12 : 2e-6;
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  const double scale = wanted.norm().item<double>(), error = (got - wanted).norm().item<double>();
  return scale > 0 ? error / scale : error;
}

at::Tensor draw(uint64_t number, at::IntArrayRef shape, at::ScalarType dtype) {
  return Rng(4, "context", {number}).normal_tensor(shape).to(dtype);
}

// The same weights on every rank, none of them zero.
std::unique_ptr<DiT> network(int64_t heads, at::ScalarType dtype) {
  DiTConfig config = dit_preset("nano");
  config.num_heads = heads;
  config.model_channels = 12 * heads;
  auto net = std::make_unique<DiT>(config);
  net->materialize(at::kCPU, dtype);
  net->initialize(1);
  uint64_t number = 100;
  for (Parameter* p : net->parameters()) {
    const at::Tensor noise = draw(number++, p->value().sizes(), dtype) * 0.05;
    p->variable().set_value(p->value() + noise);
  }
  return net;
}

std::shared_ptr<ContextGroup> share_clips(DiT& net, Comm& comm) {
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
  for (const auto& block : net.blocks) block->self_attn.attention = ulysses(group, ops::attention);
  return group;
}

// The network's gradients, taken out of it.
Tensors take_gradients(const DiT& net) {
  Tensors grads;
  for (const Parameter* p : net.parameters()) {
    const at::Tensor grad = p->variable().slot()->take();
    grads.push_back(grad.defined() ? grad.contiguous() : at::zeros_like(p->value()));
  }
  return grads;
}

void expect_same_tensors(const DiT& net, const Tensors& got, const Tensors& wanted, double tolerance) {
  const auto parameters = net.parameters();
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_LE(relative_error(got[i], wanted[i]), tolerance) << parameters[i]->key();
}

// Whole clips, with one timestep each or one a frame.
DiTInput clip_input(const DiT& net, int64_t frames, bool timestep_per_frame) {
  const at::ScalarType dtype = net.dtype();
  DiTInput in;
  const at::Tensor x = draw(1, {kBatch, 16, frames, kRows, kColumns}, dtype);
  in.x = Variable(x).with_tangent(draw(2, x.sizes(), dtype));
  const Rng rng(4, "timesteps");
  in.timesteps = Variable(rng.uniform_tensor({kBatch, timestep_per_frame ? frames : 1}).mul(1000).to(dtype));
  in.crossattn_emb = Variable(draw(3, {kBatch, 5, net.config.text_channels()}, dtype));
  in.condition_mask = draw(4, {kBatch, 1, frames, kRows, kColumns}, dtype).gt(0.5).to(dtype);
  in.padding_mask = draw(5, {kBatch, 1, 8 * kRows, 8 * kColumns}, dtype).gt(1).to(dtype);
  return in;
}

DiTInput cut(const DiTInput& whole, const Comm& comm) {
  DiTInput in = whole;
  in.x =
      Variable(local_frames(whole.x.value(), 2, comm)).with_tangent(local_frames(whole.x.tangent(), 2, comm));
  in.condition_mask = local_frames(whole.condition_mask, 2, comm);
  if (whole.timesteps.size(1) > 1) in.timesteps = Variable(local_frames(whole.timesteps.value(), 1, comm));
  in.first_frame = comm.rank() * in.x.size(2);
  return in;
}

struct Outcome {
  at::Tensor velocity, tangent, loss;
  Tensors grads;
};

// Mean squared error against a drawn target, of which this input has `part`.
Outcome run_network(const DiT& net, const DiTInput& in, const at::Tensor& target) {
  Recording recording;
  const Variable velocity = net(in);
  const Variable loss = ops::mean(ops::squared_error(velocity.detached(), Variable(target)));
  recording.backward({{velocity, (velocity.value() - target) * (2.0 / static_cast<double>(target.numel()))}});
  return {velocity.value(), velocity.tangent(), loss.value().clone(), take_gradients(net)};
}

Outcome run_spread(const DiT& net, const DiTInput& whole, const at::Tensor& target, Comm& comm) {
  Outcome out = run_network(net, cut(whole, comm), local_frames(target, 2, comm).contiguous());
  comm.all_reduce(out.loss, ReduceOp::mean, "loss").wait();
  mean_over(comm, out.grads);
  return out;
}

void expect_network_like_one_rank(Comm& comm, int64_t heads, at::ScalarType dtype, bool timestep_per_frame) {
  const auto alone = network(heads, dtype), spread = network(heads, dtype);
  share_clips(*spread, comm);
  const DiTInput in = clip_input(*alone, kRankFrames * comm.size(), timestep_per_frame);
  const at::Tensor target = draw(6, in.x.shape(), dtype);
  const Outcome wanted = run_network(*alone, in, target), got = run_spread(*spread, in, target, comm);
  const auto local = [&](const at::Tensor& x) { return local_frames(x, 2, comm); };
  SCOPED_TRACE(text_of(comm.size(), " ranks, ", heads, " heads, ", dtype));
  EXPECT_LE(relative_error(got.velocity, local(wanted.velocity)), tolerance(dtype));
  EXPECT_LE(relative_error(got.tangent, local(wanted.tangent)), tolerance(dtype));
  EXPECT_LE(relative_error(got.loss, wanted.loss), tolerance(dtype));
  expect_same_tensors(*alone, got.grads, wanted.grads, tolerance(dtype));
}

// Clips or images of a training step, the same on every rank.
flow::FlowBatch flow_batch(flow::BatchKind kind, int64_t step, int64_t samples, int64_t frames,
                           const DiT& net) {
  const auto number = static_cast<uint64_t>(1000 + 10 * step);
  const at::ScalarType dtype = net.dtype();
  const flow::TimeConfig time = flow::time_config(FlowConfig{});
  std::vector<int64_t> slots(samples);
  std::iota(slots.begin(), slots.end(), 0);
  flow::FlowBatch batch;
  batch.kind = kind;
  batch.x0 = draw(number, {samples, 16, frames, kRows, kColumns}, dtype);
  batch.noise = draw(number + 1, batch.x0.sizes(), dtype);
  batch.times = flow::times_from_draws(time, flow::draw_times(time, 3, step, slots));
  batch.text = draw(number + 2, {samples, 5, net.config.text_channels()}, dtype);
  if (kind == flow::BatchKind::video)
    batch.num_condition_frames = at::full({samples}, kRankFrames + 1, at::kLong);
  return batch;
}

flow::FlowBatch cut(const flow::FlowBatch& whole, const Comm& comm) {
  flow::FlowBatch batch = whole;
  batch.x0 = local_frames(whole.x0, 2, comm);
  batch.noise = local_frames(whole.noise, 2, comm);
  batch.num_condition_frames = local_condition_frames(whole.num_condition_frames, batch.x0.size(2), comm);
  return batch;
}

// This rank's images out of all of them.
flow::FlowBatch share(const flow::FlowBatch& whole, const Comm& comm) {
  flow::FlowBatch batch = whole;
  for (at::Tensor* x :
       {&batch.x0, &batch.noise, &batch.text, &batch.times.t, &batch.times.sigmas, &batch.times.timesteps})
    *x = local_frames(*x, 0, comm);
  return batch;
}

flow::Denoiser denoiser(const DiT& net, int64_t first_frame) {
  return [&net, first_frame](const flow::DenoiserInput& in) {
    return net({.x = in.x,
                .timesteps = in.timesteps,
                .crossattn_emb = Variable(in.text),
                .condition_mask = in.condition_mask,
                .padding_mask = in.padding_mask,
                .fps = in.fps,
                .is_image = in.kind == flow::BatchKind::image,
                .first_frame = in.kind == flow::BatchKind::image ? 0 : first_frame});
  };
}

// A step of plain gradient descent; returns the loss.
double descend(const DiT& net, const flow::FlowBatch& batch, int64_t first_frame, Comm& comm) {
  const flow::DenoiseConfig config{.precision = net.dtype(), .condition_timestep = 0.1};
  Recording recording;
  const flow::FlowLoss result = flow::flow_loss(config, denoiser(net, first_frame), batch);
  recording.backward(result.loss);
  Tensors grads = take_gradients(net);
  at::Tensor loss = result.loss.value().clone();
  comm.all_reduce(loss, ReduceOp::mean, "loss").wait();
  mean_over(comm, grads);
  const auto parameters = net.parameters();
  for (size_t i = 0; i < grads.size(); ++i) at::Tensor(parameters[i]->value()).sub_(grads[i] * 0.05);
  return loss.item<double>();
}

}  // namespace

TEST(ContextParallel, network_gives_the_velocities_and_gradients_of_one_rank) {
  Comm& comm = test_world().comm();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    expect_network_like_one_rank(comm, comm.size(), dtype, false);
    expect_network_like_one_rank(comm, comm.size() + 1, dtype, true);  // uneven heads
  }
}

TEST(ContextParallel, recompute_changes_no_bit_of_the_gradients) {
  Comm& comm = test_world().comm();
  for (const int64_t groups : {1, 2}) {
    const auto net = network(2 * groups * comm.size(), at::kFloat);
    share_clips(*net, comm)->head_groups = groups;
    const DiTInput in = clip_input(*net, kRankFrames * comm.size(), true);
    const at::Tensor target = draw(6, in.x.shape(), net->dtype());
    const Outcome kept = run_spread(*net, in, target, comm);
    using Patterns = std::vector<std::string>;
    for (const Patterns& keep : {Patterns{}, Patterns{"*.self_attn.attention"}, Patterns{"*.ulysses_*"},
                                 Patterns{"*.rms_norm_rope"}}) {
      for (const auto& block : net->blocks) block->save_policy = std::make_shared<SavePolicy>(keep);
      const Outcome again = run_spread(*net, in, target, comm);
      for (size_t i = 0; i < kept.grads.size(); ++i)
        EXPECT_TRUE(at::equal(again.grads[i], kept.grads[i])) << i << ", groups " << groups;
    }
  }
}

TEST(ContextParallel, training_on_videos_and_images_in_turn_is_that_of_one_rank) {
  Comm& comm = test_world().comm();
  const auto single = single_rank_comm("alone");
  const int64_t frames = kRankFrames * comm.size();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const auto alone = network(comm.size(), dtype), spread = network(comm.size(), dtype);
    const auto group = share_clips(*spread, comm);
    for (int64_t step = 0; step < 4; ++step) {
      group->active = step % 2 == 0;
      const auto batch = group->active ? flow_batch(flow::BatchKind::video, step, kBatch, frames, *alone)
                                       : flow_batch(flow::BatchKind::image, step, 2 * comm.size(), 1, *alone);
      const double wanted = descend(*alone, batch, 0, *single);
      const double got = group->active ? descend(*spread, cut(batch, comm), comm.rank() * kRankFrames, comm)
                                       : descend(*spread, share(batch, comm), 0, comm);
      EXPECT_NEAR(got, wanted, tolerance(dtype) * wanted) << "step " << step << ", " << dtype;
    }
    Tensors got, wanted;
    for (const Parameter* p : spread->parameters()) got.push_back(p->value());
    for (const Parameter* p : alone->parameters()) wanted.push_back(p->value());
    expect_same_tensors(*alone, got, wanted, tolerance(dtype));
  }
}

TEST(ContextParallel, sampling_gives_every_rank_the_clip_of_one_rank) {
  Comm& comm = test_world().comm();
  const auto alone = network(comm.size(), at::kDouble), spread = network(comm.size(), at::kDouble);
  share_clips(*spread, comm);
  const flow::GenerateConfig config{.steps = 4,
                                    .condition_frames = kRankFrames + 1,
                                    .denoise = {.precision = at::kDouble, .condition_timestep = 0.1}};
  const Shape shape = {1, 16, kRankFrames * comm.size(), kRows, kColumns};
  const flow::GenerateInput in{.noise = draw(1, shape, at::kDouble),
                               .x0 = draw(2, shape, at::kDouble),
                               .text = draw(3, {1, 5, alone->config.text_channels()}, at::kDouble)};
  const auto spread_denoiser = [&](const flow::DenoiserInput& whole) {
    flow::DenoiserInput part = whole;
    part.x = Variable(local_frames(whole.x.value(), 2, comm));
    part.condition_mask = local_frames(whole.condition_mask, 2, comm);
    if (whole.timesteps.size(1) > 1)
      part.timesteps = Variable(local_frames(whole.timesteps.value(), 1, comm));
    const Variable velocity = denoiser(*spread, comm.rank() * kRankFrames)(part);
    return Variable(gather_frames(comm, velocity.value(), 2));
  };
  const at::Tensor wanted = flow::generate_latent(config, denoiser(*alone, 0), in);
  EXPECT_LE(relative_error(flow::generate_latent(config, spread_denoiser, in), wanted), 1e-12);
}

}  // namespace orrery
