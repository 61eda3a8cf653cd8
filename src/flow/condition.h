#pragma once
// What is given to the model and what it must make up: the number of condition frames, their mask, frame
// replacement, the timestep of given frames, dropout of the text for classifier-free guidance. Called by the
// training objective and by latent generation. Frames are latent frames. Source: cosmos-predict2.5,
// predict2/configs/video2world/defaults/conditioner.py (set_video_condition), predict2/conditioner.py
// (TextAttr), predict2/models/video2world_model_rectified_flow.py (denoise).
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/config.h"

namespace orrery::flow {

enum class BatchKind { video, image };

// Law of the number of condition frames: choice i has a probability proportional to weight i.
struct FrameLaw {
  std::vector<int64_t> choices = {0, 1, 2};
  std::vector<double> weights = {0.5, 0.25, 0.25};
};
FrameLaw frame_law(const FlowConfig& config);
FrameLaw uniform_frames(int64_t min, int64_t max);  // each number in [min, max]

// uniform: [B] float64 draws in [0, 1). Returns [B] int64; all 0 for one-frame clips (num_frames == 1:
// images).
at::Tensor num_condition_frames(const FrameLaw& law, const at::Tensor& uniform, int64_t num_frames);

// counts: [B] int64 >= 0. Returns [B, 1, T, 1, 1] of dtype: 1 on the first counts[b] frames (all of them if
// more).
at::Tensor condition_mask(const at::Tensor& counts, int64_t num_frames, at::ScalarType dtype);

// x, given: [B, C, T, H, W]; mask: [B, 1, T, 1 or H, 1 or W]. given where mask is 1, x where it is 0, in x's
// dtype.
at::Tensor replace_frames(const at::Tensor& x, const at::Tensor& given, const at::Tensor& mask);

// timesteps: [B or 1, 1] float32; mask as above. Returns [B, T]: condition_timestep on given frames, else the
// sample's. condition_timestep is first rounded to the mask's dtype, as in the reference (0.1 is
// 0.10009765625 in bfloat16).
at::Tensor frame_timesteps(const at::Tensor& timesteps, const at::Tensor& mask, double condition_timestep);

// embedding: [B, ...]; uniform: [B] float32. Kept where uniform < 1 - rate, else zero, or `empty` (same
// shape, or with a batch of one) if it is defined.
at::Tensor drop_text(const at::Tensor& embedding, const at::Tensor& uniform, double rate,
                     const at::Tensor& empty = {});

// Draws of one optimizer step, on the CPU; they depend on (seed, step, sample) alone.
at::Tensor draw_condition_frames(uint64_t seed, int64_t step,
                                 std::span<const int64_t> samples);                           // [B] float64
at::Tensor draw_text_dropout(uint64_t seed, int64_t step, std::span<const int64_t> samples);  // [B] float32

}  // namespace orrery::flow
