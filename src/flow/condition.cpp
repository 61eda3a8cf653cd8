#include "flow/condition.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"

namespace orrery::flow {
namespace {

constexpr int64_t kMostFrames = 1 << 20;  // far above any clip; bounds what is allocated

// Running sums of the weights.
std::vector<double> cumulative(const FrameLaw& law) {
  require(!law.choices.empty() && law.choices.size() == law.weights.size(),
          "condition frames: ", law.choices.size(), " choices and ", law.weights.size(),
          " weights, wanted as many of both and at least one");
  std::vector<double> sums;
  double sum = 0;
  for (size_t i = 0; i < law.choices.size(); ++i) {
    require(law.choices[i] >= 0, "condition frames: choice ", law.choices[i], ", wanted a number >= 0");
    require(std::isfinite(law.weights[i]) && law.weights[i] >= 0, "condition frames: weight ", law.weights[i],
            ", wanted a number >= 0");
    sums.push_back(sum += law.weights[i]);
  }
  require(sum > 0 && std::isfinite(sum), "condition frames: the weights sum to ", sum);
  return sums;
}

void check_uniform(const at::Tensor& uniform, at::ScalarType dtype) {
  require(uniform.defined() && uniform.dim() == 1 && uniform.scalar_type() == dtype && uniform.is_cpu(),
          "uniform: wanted one CPU number of type ", dtype, " a sample");
  require(uniform.ge(0).all().item<bool>() && uniform.le(1).all().item<bool>(),
          "uniform: wanted numbers in [0, 1]");
}

// at::where, which ATen has not for meta tensors.
at::Tensor choose(const at::Tensor& condition, const at::Tensor& a, const at::Tensor& b) {
  if (!b.is_meta()) return at::where(condition, a, b);
  return at::empty(at::infer_size(at::infer_size(condition.sizes(), a.sizes()), b.sizes()), b.options());
}

Rng stream(uint64_t seed, const char* purpose, int64_t step, int64_t sample) {
  return Rng(seed, purpose, {static_cast<uint64_t>(step), static_cast<uint64_t>(sample)});
}

}  // namespace

FrameLaw frame_law(const FlowConfig& config) {
  return {config.condition_frames, config.condition_weights};
}

FrameLaw uniform_frames(int64_t min, int64_t max) {
  require(min >= 0 && min <= max && max < kMostFrames, "condition frames: from ", min, " to ", max,
          ", wanted 0 <= from <= to");
  FrameLaw law{{}, {}};
  for (int64_t n = min; n <= max; ++n) {
    law.choices.push_back(n);
    law.weights.push_back(1);
  }
  return law;
}

at::Tensor num_condition_frames(const FrameLaw& law, const at::Tensor& uniform, int64_t num_frames) {
  require(num_frames >= 1, "condition frames: a clip of ", num_frames, " frames");
  check_uniform(uniform, at::kDouble);
  const std::vector<double> sums = cumulative(law);
  at::Tensor counts = at::zeros(uniform.sizes(), at::kLong);
  if (num_frames == 1) return counts;
  const at::Tensor draws = uniform.contiguous();
  const double* const u = draws.const_data_ptr<double>();
  int64_t* const out = counts.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < counts.numel(); ++i) {
    // The first choice whose running sum exceeds the draw, as python's random.choices.
    const auto found = std::upper_bound(sums.begin(), sums.end() - 1, u[i] * sums.back());
    out[i] = law.choices[found - sums.begin()];
  }
  return counts;
}

at::Tensor condition_mask(const at::Tensor& counts, int64_t num_frames, at::ScalarType dtype) {
  require(counts.dim() == 1 && counts.scalar_type() == at::kLong,
          "num_conditional_frames: wanted int64 [B], got ", counts.sizes(), " ", counts.scalar_type());
  require(num_frames >= 1 && num_frames < kMostFrames, "condition mask: a clip of ", num_frames, " frames");
  require(counts.ge(0).all().item<bool>(), "num_conditional_frames: wanted numbers >= 0");
  const at::Tensor frame = at::arange(num_frames, counts.options());
  return frame.unsqueeze(0).lt(counts.unsqueeze(1)).to(dtype).view({counts.size(0), 1, num_frames, 1, 1});
}

at::Tensor replace_frames(const at::Tensor& x, const at::Tensor& given, const at::Tensor& mask) {
  require(x.sizes() == given.sizes(), "frame replacement: given frames are ", given.sizes(), ", wanted ",
          x.sizes());
  return choose(mask.to(at::kBool), given.to(x.scalar_type()), x);
}

at::Tensor frame_timesteps(const at::Tensor& timesteps, const at::Tensor& mask, double condition_timestep) {
  require(timesteps.dim() == 2 && timesteps.size(1) == 1, "timesteps: wanted [B, 1], got ",
          timesteps.sizes());
  require(mask.dim() == 5, "condition mask: wanted [B, 1, T, H, W], got ", mask.sizes());
  const at::Tensor given = mask.select(1, 0).select(2, 0).select(2, 0);  // [B, T]
  const at::Tensor fixed = at::full({}, condition_timestep, given.options()).to(timesteps.scalar_type());
  return choose(given.to(at::kBool), fixed, timesteps);
}

at::Tensor drop_text(const at::Tensor& embedding, const at::Tensor& uniform, double rate,
                     const at::Tensor& empty) {
  require(rate >= 0 && rate <= 1, "text dropout: rate ", rate, ", wanted a share in [0, 1]");
  check_uniform(uniform, at::kFloat);
  require(embedding.dim() >= 1 && embedding.size(0) == uniform.size(0), "text dropout: ", uniform.size(0),
          " draws for an embedding ", embedding.sizes());
  std::vector<int64_t> shape(embedding.dim(), 1);
  shape[0] = embedding.size(0);
  // The probability is a float32 number in the reference's Bernoulli draw.
  const at::Tensor keep = uniform.lt(static_cast<float>(1 - rate)).view(shape).to(embedding.device());
  if (!empty.defined()) return at::where(keep, embedding, at::zeros({}, embedding.options()));
  require(empty.dim() == embedding.dim(), "text dropout: the empty embedding is ", empty.sizes(), ", wanted ",
          embedding.sizes());
  return at::where(keep, embedding, empty.to(embedding.options()).expand(embedding.sizes()));
}

at::Tensor draw_condition_frames(uint64_t seed, int64_t step, std::span<const int64_t> samples) {
  at::Tensor out = at::empty({static_cast<int64_t>(samples.size())}, at::kDouble);
  double* const values = out.mutable_data_ptr<double>();
  for (size_t i = 0; i < samples.size(); ++i)
    values[i] = stream(seed, "flow.condition", step, samples[i]).uniform();
  return out;
}

at::Tensor draw_text_dropout(uint64_t seed, int64_t step, std::span<const int64_t> samples) {
  at::Tensor out = at::empty({static_cast<int64_t>(samples.size())}, at::kFloat);
  float* const values = out.mutable_data_ptr<float>();
  for (size_t i = 0; i < samples.size(); ++i)  // 24 bits: exact in float32 and below 1
    values[i] =
        static_cast<float>(stream(seed, "flow.text_dropout", step, samples[i]).next() >> 8) * 0x1p-24f;
  return out;
}

}  // namespace orrery::flow
