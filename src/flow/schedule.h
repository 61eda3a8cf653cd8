#pragma once
// Training times of rectified flow: from random draws to the noise level sigma of each sample and the
// timestep that enters the network. Called by the training objective. Convention: sigma = 1 is noise, 0 is
// data; timestep = 1000 sigma. Source: cosmos-predict2.5 and cosmos-transfer2.5,
// predict2/schedulers/rectified_flow.py and training_step of models/text2world_model_rectified_flow.py. All
// arithmetic in float32 on the CPU, in the references' order.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "base/config.h"

namespace orrery::flow {

inline constexpr int64_t kNumTimesteps = 1000;

struct TimeConfig {
  TimeTable table = TimeTable::discrete;  // discrete: cosmos-predict2.5; continuous: cosmos-transfer2.5
  TimeLaw law = TimeLaw::logit_normal;    // of the unshifted time t
  double shift = 5;                       // sigma = shift t / (1 + (shift - 1) t), > 0
  double high_sigma_ratio = 0;            // share of samples whose time is replaced by a high one; 0: none
  double high_sigma_min = 980;            // ... drawn evenly from the table's timesteps in [min, max]
  double high_sigma_max = kNumTimesteps;
};
TimeConfig time_config(const FlowConfig& config);

// Random inputs, one a sample, on the CPU.
struct TimeDraws {
  at::Tensor time;            // [B] float32: N(0, 1) for logit_normal, U[0, 1) for uniform and waver
  at::Tensor high_uniform{};  // [B] float32, U[0, 1); only read if high_sigma_ratio > 0
  at::Tensor high_index{};    // [B] int64 in [0, num_high_timesteps); only read if high_sigma_ratio > 0
};

struct Times {
  at::Tensor t;          // [B] unshifted time in [0, 1]
  at::Tensor sigmas;     // [B, 1] noise level
  at::Tensor timesteps;  // [B, 1] 1000 sigma
};

// Table entries that the high-sigma strategy chooses from. Throws Error if there are none.
int64_t num_high_timesteps(const TimeConfig& config);

// The discrete table runs from most to least noise, so there a large t is a low noise level; the laws are
// symmetric or taken as they are, as in the reference. Throws Error for shapes, dtypes or values outside the
// above.
Times times_from_draws(const TimeConfig& config, const TimeDraws& draws);

// The draws of one optimizer step for these samples (numbers within the global batch). They depend on (seed,
// step, sample) alone, so not on how many ranks share the batch.
TimeDraws draw_times(const TimeConfig& config, uint64_t seed, int64_t step, std::span<const int64_t> samples);

// Shift for films of this size in pixels: 1 up to 320 x 192 ("256p"), 5 from 1280 x 704 ("720p"), a power of
// the area in between. The end points are the Cosmos-Predict2.5 paper's; it does not give the values in
// between.
double shift_for_resolution(int64_t height, int64_t width);

}  // namespace orrery::flow
