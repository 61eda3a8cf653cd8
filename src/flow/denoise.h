#pragma once
// One evaluation of the network under frame conditioning: given frames replaced in the input, their timestep,
// and their exact velocity in the output. Shared by the training objective and by generation, which differ in
// dtypes only. Source: cosmos-predict2.5, predict2/models/video2world_model_rectified_flow.py (denoise).
#include <functional>
#include <memory>

#include "autograd/variable.h"
#include "flow/condition.h"

namespace orrery::flow {

// What the network is given. B samples, T H W latent frames, rows and columns.
struct DenoiserInput {
  Variable x{};          // [B, C, T, H, W] in the network's dtype
  Variable timesteps{};  // [B, 1] or, one a frame, [B, T]; float32, 0 .. 1000
  at::Tensor
      condition_mask{};  // [B, 1, T, H, W] in the network's dtype, 1 on given frames; undefined for images
  at::Tensor text{};     // [B, tokens, channels]
  at::Tensor padding_mask{};  // [B, 1, rows, columns] of pixels, 1 where padded; may be undefined
  at::Tensor fps{};           // [B]; may be undefined
  BatchKind kind = BatchKind::video;
  std::shared_ptr<const void> apart_from_text{};  // calls with the same one, not null, differ in text alone
};
using Denoiser =
    std::function<Variable(const DenoiserInput&)>;  // -> velocity [B, C, T, H, W], any floating dtype

struct DenoiseConfig {
  at::ScalarType precision = at::kFloat;  // dtype of the network's input
  double condition_timestep = -1;         // of given frames; negative: the sample's own
  bool replace_condition = true;          // the velocity of given frames is noise - given
  bool use_video_condition = true;        // false: zeros stand where the given frames would
};

struct DenoiseInput {
  at::Tensor x{};          // [B, C, T, H, W] noisy latent; the replacement happens in its dtype
  at::Tensor timesteps{};  // [B or 1, 1] float32
  at::Tensor noise{};      // [B, C, T, H, W] float32 or float64: the noise in x
  at::Tensor given{};      // [B, C, T, H, W] clean latent, read on given frames only; undefined for images
  at::Tensor mask{};  // [B, 1, T, 1, 1] 1 on given frames, rounds condition_timestep; undefined for images
  at::Tensor text{}, padding_mask{}, fps{};  // as in DenoiserInput
  BatchKind kind = BatchKind::video;
  std::shared_ptr<const void> apart_from_text{};  // as in DenoiserInput
};

struct Denoised {
  Variable velocity{};   // [B, C, T, H, W] in noise's dtype
  DenoiserInput inputs;  // what entered the network
};
Denoised denoise(const DenoiseConfig& config, const Denoiser& net, const DenoiseInput& in);

}  // namespace orrery::flow
