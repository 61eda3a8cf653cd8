#pragma once
// The training objective of rectified flow: x_t = sigma noise + (1 - sigma) x0, and the mean squared error of
// the network's velocity against noise - x0. Given frames count in the mean, with their exact velocity.
// Called by the trainer once a micro-batch.
// Source: cosmos-predict2.5, predict2/models/text2world_model_rectified_flow.py (training_step). The time
// weight is uniform: the reference has no other ("reweighting" is its alias).
#include <span>

#include "flow/denoise.h"
#include "flow/schedule.h"

namespace orrery::flow {

struct FlowBatch {
  at::Tensor x0;                      // [B, C, T, H, W] clean latent, float32 or float64
  at::Tensor noise;                   // same shape and dtype, N(0, 1)
  Times times;                        // one a sample, shared by its frames
  at::Tensor num_condition_frames{};  // [B] int64; not read for images
  at::Tensor text{};                  // [B, tokens, channels], after dropout
  at::Tensor padding_mask{}, fps{};   // as in DenoiserInput
  BatchKind kind = BatchKind::video;
};

struct FlowLoss {
  Variable loss;        // [] mean over the samples, in x0's dtype
  Variable per_sample;  // [B]
  Variable velocity;    // [B, C, T, H, W] prediction with given frames replaced
  at::Tensor x_t;       // noisy latent in x0's dtype, before frame replacement
  at::Tensor target;    // noise - x0
  DenoiserInput inputs;
};

// Precision: x_t, target, loss in x0's dtype; the network's input, the given frames and the mask in
// config.precision.
FlowLoss flow_loss(const DenoiseConfig& config, const Denoiser& net, const FlowBatch& batch);

// N(0, 1) noise [samples, shape...] float32 on the CPU. Sample s depends on (seed, step, s) alone.
at::Tensor draw_noise(uint64_t seed, int64_t step, std::span<const int64_t> samples, at::IntArrayRef shape);

DenoiseConfig denoise_config(const FlowConfig& config, at::ScalarType precision);

}  // namespace orrery::flow
