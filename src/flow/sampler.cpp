#include "flow/sampler.h"

#include <cmath>

#include "base/error.h"

namespace orrery::flow {
namespace {

constexpr double kTrainSteps = 1000;
constexpr int64_t kMostSteps = 10000;

NoiseLevels levels_of(const std::vector<double>& sigmas) {
  NoiseLevels levels;
  for (const double sigma : sigmas) {
    levels.sigmas.push_back(static_cast<float>(sigma));
    levels.timesteps.push_back(static_cast<int64_t>(sigma * kTrainSteps));
  }
  levels.sigmas.push_back(0);
  for (size_t i = 0; i + 1 < levels.sigmas.size(); ++i)
    require(levels.sigmas[i] > levels.sigmas[i + 1], "sampler: ", sigmas.size(), " steps: noise levels ", i,
            " and ", i + 1, " are equal in float32; take fewer steps or a smaller shift");
  return levels;
}

void check_steps(int64_t num_steps) {
  require(num_steps >= 1 && num_steps <= kMostSteps, "sampler: ", num_steps, " steps, wanted 1 to ",
          kMostSteps);
}

void check_start(const NoiseLevels& levels, const at::Tensor& noise) {
  require(levels.num_steps() >= 1 && levels.sigmas.size() == levels.timesteps.size() + 1,
          "sampler: ", levels.sigmas.size(), " noise levels and ", levels.timesteps.size(), " timesteps");
  require(noise.scalar_type() == at::kFloat || noise.scalar_type() == at::kDouble, "sampler: noise is ",
          noise.scalar_type(), ", wanted float32 or float64");
}

SamplerStep step_at(const NoiseLevels& levels, int64_t i) {
  return {i, levels.sigmas[i], levels.timesteps[i]};
}

at::Tensor velocity_at(const VelocityFn& velocity, const at::Tensor& x, const SamplerStep& step) {
  const at::Tensor v = velocity(x, step);
  require(v.sizes() == x.sizes(), "sampler: velocity has shape ", v.sizes(), ", the state ", x.sizes());
  return v.to(x.scalar_type());
}

// State of the multi-step solver. y is the corrected state of the last step, m the estimates of x0, newest
// first.
class UniPc {
 public:
  explicit UniPc(const NoiseLevels& levels) : levels_(levels) {
    require(levels.sigmas[0] < 1,
            "UniPC: the first noise level is 1, where its log signal-to-noise ratio is "
            "infinite; take a smaller shift or the Euler sampler");
  }

  // From the state x at noise level i and its velocity to the state at level i + 1.
  at::Tensor step(int64_t i, const at::Tensor& x, const at::Tensor& velocity) {
    const at::Tensor estimate = x - sigma(i) * velocity;
    const at::Tensor corrected = i > 0 ? correct(i, estimate) : x;
    before_last_ = last_;
    last_ = estimate;
    y_ = corrected;
    order_ = std::min({int64_t{2}, levels_.num_steps() - i, i + 1});
    return predict(i);
  }

 private:
  double sigma(int64_t i) const { return levels_.sigmas[i]; }
  double log_snr(int64_t i) const { return std::log1p(-sigma(i)) - std::log(sigma(i)); }  // +inf at sigma 0

  // The state at level i again, now that its x0 estimate is known. rho: weights of the two differences.
  at::Tensor correct(int64_t i, const at::Tensor& estimate) const {
    const double h = log_snr(i) - log_snr(i - 1), b = std::expm1(-h), alpha = 1 - sigma(i);
    const at::Tensor base = (sigma(i) / sigma(i - 1)) * y_ - (alpha * b) * last_;
    if (order_ == 1) return base - (alpha * b * 0.5) * (estimate - last_);
    const double r = (log_snr(i - 2) - log_snr(i - 1)) / h;
    const double phi1 = b / -h - 1, phi2 = phi1 / -h - 0.5;
    const double b1 = phi1 / b, b2 = 2 * phi2 / b;
    const double rho0 = (b2 - b1) / (r - 1), rho1 = b1 - rho0;
    return base - (alpha * b) * ((rho0 / r) * (before_last_ - last_) + rho1 * (estimate - last_));
  }

  at::Tensor predict(int64_t i) const {
    const double h = log_snr(i + 1) - log_snr(i), b = std::expm1(-h), alpha = 1 - sigma(i + 1);
    const at::Tensor base = (sigma(i + 1) / sigma(i)) * y_ - (alpha * b) * last_;
    if (order_ == 1) return base;
    const double r = (log_snr(i - 1) - log_snr(i)) / h;
    return base - (alpha * b * 0.5 / r) * (before_last_ - last_);
  }

  const NoiseLevels& levels_;
  at::Tensor y_, last_, before_last_;
  int64_t order_ = 1;  // of the last prediction
};

}  // namespace

NoiseLevels linear_levels(int64_t num_steps, double shift) {
  check_steps(num_steps);
  require(std::isfinite(shift) && shift > 0, "sampler: shift is ", shift, ", wanted a number > 0");
  const double highest = 0.999f;  // the training table's largest sigma, a float32 number
  const double stride = -highest / static_cast<double>(num_steps);
  std::vector<double> sigmas;
  for (int64_t i = 0; i < num_steps; ++i) {
    const double s = static_cast<double>(i) * stride + highest;
    sigmas.push_back(shift * s / (1 + (shift - 1) * s));
  }
  return levels_of(sigmas);
}

NoiseLevels karras_levels(int64_t num_steps) {
  check_steps(num_steps);
  constexpr double kMax = 200, kMin = 0.01,
                   kRho = 7;  // "the exact sigma used in edm sampler", fm_solvers_unipc.py
  const double high = std::pow(kMax, 1 / kRho), low = std::pow(kMin, 1 / kRho);
  std::vector<double> sigmas;
  for (int64_t i = 0; i <= num_steps; ++i) {
    const double k =
        std::pow(high + static_cast<double>(i) / static_cast<double>(num_steps) * (low - high), kRho);
    sigmas.push_back(k / (1 + k));
  }
  return levels_of(sigmas);
}

int64_t steps_of_levels(Sigmas kind, int64_t num_steps) {
  return kind == Sigmas::karras ? num_steps + 1 : num_steps;
}

NoiseLevels noise_levels(Sigmas kind, int64_t num_steps, double shift) {
  return kind == Sigmas::karras ? karras_levels(num_steps) : linear_levels(num_steps, shift);
}

at::Tensor sample_unipc(const NoiseLevels& levels, const at::Tensor& noise, const VelocityFn& velocity,
                        const StateFn& after_step) {
  check_start(levels, noise);
  UniPc solver(levels);
  at::Tensor x = noise;
  for (int64_t i = 0; i < levels.num_steps(); ++i) {
    const SamplerStep step = step_at(levels, i);
    x = solver.step(i, x, velocity_at(velocity, x, step));
    if (after_step) after_step(step, x);
  }
  return x;
}

at::Tensor sample_euler(const NoiseLevels& levels, const at::Tensor& noise, const VelocityFn& velocity,
                        const StateFn& after_step) {
  check_start(levels, noise);
  at::Tensor x = noise;
  for (int64_t i = 0; i < levels.num_steps(); ++i) {
    const SamplerStep step = step_at(levels, i);
    const double stride = double{levels.sigmas[i + 1]} - double{levels.sigmas[i]};
    x = x + stride * velocity_at(velocity, x, step);
    if (after_step) after_step(step, x);
  }
  return x;
}

at::Tensor sample(SamplerKind kind, const NoiseLevels& levels, const at::Tensor& noise,
                  const VelocityFn& velocity, const StateFn& after_step) {
  return kind == SamplerKind::euler ? sample_euler(levels, noise, velocity, after_step)
                                    : sample_unipc(levels, noise, velocity, after_step);
}

at::Tensor guided(Guidance formula, double guidance, const at::Tensor& v_cond, const at::Tensor& v_uncond) {
  require(v_cond.sizes() == v_uncond.sizes(), "guidance: velocities of shapes ", v_cond.sizes(), " and ",
          v_uncond.sizes());
  const at::Tensor difference = guidance * (v_cond - v_uncond);
  return (formula == Guidance::v2w ? v_cond : v_uncond) + difference;
}

}  // namespace orrery::flow
