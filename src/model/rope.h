#pragma once
// Positions of the video DiT: 3D rotary angles over (frame, row, column).
#include <ATen/core/Tensor.h>

namespace orrery {

struct RopeConfig {
  int64_t head_dim = 128;
  double ratio_t = 1, ratio_h = 3, ratio_w = 3;  // NTK extrapolation ratios
  bool fps_modulation = false;                   // frame index becomes frame / fps * base_fps
  double base_fps = 24;
};

// How a head's channels are shared out: h and w get head_dim / 6 * 2 each, t the rest; dims in channels (two
// a frequency).
struct RopeDims {
  int64_t t, h, w;
};
RopeDims rope_dims(int64_t head_dim);

struct RopeTable {
  at::Tensor angles;  // (S, head_dim / 2), tokens in (t h w) order, w fastest
  at::Tensor cos, sin;
};

// exponents_t (dim_t / 2), exponents_s (dim_h / 2): the model's buffers (2j / dim), rounded as the model's
// type rounds them and then used in the accumulation type: frequency = (10000 ratio^(dim/(dim-2)))^-exponent.
// Frames are first_frame .. first_frame + frames - 1. fps: undefined, or (B) with equal entries, used under
// fps_modulation. Source: Cosmos-Predict2.5 networks/minimal_v4_dit.py, VideoRopePosition3DEmb.
RopeTable rope_table(const RopeConfig& config, const at::Tensor& exponents_t, const at::Tensor& exponents_s,
                     int64_t first_frame, int64_t frames, int64_t rows, int64_t columns,
                     const at::Tensor& fps);

}  // namespace orrery
