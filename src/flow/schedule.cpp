#include "flow/schedule.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/rng.h"

namespace orrery::flow {
namespace {

constexpr double kWaverScale = 1.29;  // "waver_mode_1.29", the only value the reference allows

at::Tensor shifted(const at::Tensor& t, double shift) {
  return (shift * t) / (1 + (shift - 1) * t);
}

// Noise levels from highest to lowest, float32 [1000]; as diffusers' FlowMatchEulerDiscreteScheduler makes
// them.
at::Tensor sigma_table(double shift) {
  const at::Tensor base = at::arange(kNumTimesteps, 0, -1, at::kFloat) / kNumTimesteps;
  return shifted(base, shift);
}

struct Range {
  int64_t begin, end;  // of table indices
};

Range high_range(const TimeConfig& config) {
  const at::Tensor timesteps = sigma_table(config.shift) * kNumTimesteps;
  const float* const values = timesteps.const_data_ptr<float>();
  Range range{0, 0};
  while (range.begin < kNumTimesteps && values[range.begin] > config.high_sigma_max) ++range.begin;
  range.end = range.begin;
  while (range.end < kNumTimesteps && values[range.end] >= config.high_sigma_min) ++range.end;
  require(range.end > range.begin, "high-sigma strategy: no timestep of the table with shift ", config.shift,
          " lies in [", config.high_sigma_min, ", ", config.high_sigma_max, "]");
  return range;
}

// [0, 1): a float32 made from a double below 1 could round up to 1.
float unit_float(Rng& rng) {
  return static_cast<float>(rng.next() >> 8) * 0x1p-24f;
}

void check(const TimeConfig& config) {
  require(std::isfinite(config.shift) && config.shift > 0, "time shift is ", config.shift,
          ", wanted a number > 0");
  require(config.high_sigma_ratio >= 0 && config.high_sigma_ratio <= 1, "high-sigma ratio is ",
          config.high_sigma_ratio, ", wanted a share in [0, 1]");
}

void check_draw(const at::Tensor& draw, const char* name, at::ScalarType dtype, int64_t batch) {
  require(draw.defined() && draw.dim() == 1 && draw.size(0) == batch && draw.scalar_type() == dtype &&
              draw.is_cpu(),
          name, ": wanted ", batch, " CPU numbers of type ", dtype, ", got ",
          draw.defined() ? text_of(draw.sizes(), " ", draw.scalar_type()) : "nothing");
}

at::Tensor unshifted_times(const TimeConfig& config, const at::Tensor& draw) {
  require(draw.defined() && draw.dim() == 1, "time_draw: wanted one number a sample");
  check_draw(draw, "time_draw", at::kFloat, draw.size(0));
  require(at::isfinite(draw).all().item<bool>(), "time_draw: not all numbers are finite");
  if (config.law == TimeLaw::logit_normal) return at::sigmoid(draw);
  require(draw.ge(0).all().item<bool>() && draw.le(1).all().item<bool>(), "time_draw: the law ",
          name_of(config.law), " wants numbers in [0, 1]");
  if (config.law == TimeLaw::uniform) return draw;
  const at::Tensor cosine = at::cos(std::numbers::pi / 2 * draw);
  return 1 - draw - kWaverScale * (cosine * cosine - 1 + draw);
}

// Table index of the replacement [B] and which samples take it [B].
struct High {
  at::Tensor index, chosen;
};

High high_choice(const TimeConfig& config, const TimeDraws& draws, int64_t batch) {
  const Range range = high_range(config);
  check_draw(draws.high_uniform, "high_sigma_uniform", at::kFloat, batch);
  check_draw(draws.high_index, "high_sigma_index", at::kLong, batch);
  require(draws.high_index.ge(0).all().item<bool>() &&
              draws.high_index.lt(range.end - range.begin).all().item<bool>(),
          "high_sigma_index: wanted numbers in [0, ", range.end - range.begin, ")");
  return {draws.high_index + range.begin, draws.high_uniform < config.high_sigma_ratio};
}

}  // namespace

TimeConfig time_config(const FlowConfig& config) {
  return {.table = config.variant,
          .law = config.time,
          .shift = config.shift,
          .high_sigma_ratio = config.high_sigma};
}

int64_t num_high_timesteps(const TimeConfig& config) {
  const Range range = high_range(config);
  return range.end - range.begin;
}

Times times_from_draws(const TimeConfig& config, const TimeDraws& draws) {
  check(config);
  const at::Tensor t = unshifted_times(config, draws.time);
  const int64_t batch = t.size(0);
  const at::Tensor table = sigma_table(config.shift);
  at::Tensor sigmas, timesteps;
  if (config.table == TimeTable::discrete) {
    // float32 rounds a t near 1 up to 1: that is the last entry.
    at::Tensor index = (t * kNumTimesteps).to(at::kLong).clamp(0, kNumTimesteps - 1);
    if (config.high_sigma_ratio > 0) {
      const High high = high_choice(config, draws, batch);
      index = at::where(high.chosen, high.index, index);
    }
    sigmas = table.index_select(0, index);
    timesteps = sigmas * kNumTimesteps;
  } else {
    timesteps = shifted(t, config.shift) * kNumTimesteps;
    if (config.high_sigma_ratio > 0) {
      const High high = high_choice(config, draws, batch);
      timesteps = at::where(high.chosen, table.index_select(0, high.index) * kNumTimesteps, timesteps);
    }
    sigmas = timesteps / kNumTimesteps;
  }
  return {t, sigmas.unsqueeze(1), timesteps.unsqueeze(1)};
}

TimeDraws draw_times(const TimeConfig& config, uint64_t seed, int64_t step,
                     std::span<const int64_t> samples) {
  check(config);
  const int64_t batch = static_cast<int64_t>(samples.size());
  const int64_t choices = config.high_sigma_ratio > 0 ? num_high_timesteps(config) : 0;
  TimeDraws draws{at::empty({batch}, at::kFloat), at::empty({batch}, at::kFloat),
                  at::empty({batch}, at::kLong)};
  float* const time = draws.time.mutable_data_ptr<float>();
  float* const uniform = draws.high_uniform.mutable_data_ptr<float>();
  int64_t* const index = draws.high_index.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch; ++i) {
    Rng rng(seed, "flow.time", {static_cast<uint64_t>(step), static_cast<uint64_t>(samples[i])});
    time[i] = config.law == TimeLaw::logit_normal ? static_cast<float>(rng.normal()) : unit_float(rng);
    uniform[i] = unit_float(rng);
    index[i] = choices > 0 ? static_cast<int64_t>(rng.below(static_cast<uint64_t>(choices))) : 0;
  }
  return draws;
}

double shift_for_resolution(int64_t height, int64_t width) {
  require(height > 0 && width > 0, "resolution is ", height, " x ", width, ", wanted positive numbers");
  constexpr double kLowArea = 320 * 192, kHighArea = 1280 * 704, kLowShift = 1, kHighShift = 5;
  const double area = static_cast<double>(height) * static_cast<double>(width);
  const double exponent = std::log(kHighShift / kLowShift) / std::log(kHighArea / kLowArea);
  return std::clamp(kLowShift * std::pow(area / kLowArea, exponent), kLowShift, kHighShift);
}

}  // namespace orrery::flow
