#pragma once
// Integration of the flow from noise to data. Knows the network only as a velocity function of the state.
// Called by latent generation (flow/generate.h) and by evaluation. Source: cosmos-predict2.5,
// predict2/models/fm_solvers_unipc.py; UniPC: Zhao et al. 2023 (arXiv 2302.04867), order 2, B(h) = expm1(h),
// predicting x0, corrector on every step but the first.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "base/config.h"

namespace orrery::flow {

// Noise levels of n steps: strictly falling float32 numbers in (0, 1], then 0.
struct NoiseLevels {
  std::vector<float> sigmas;       // [n + 1]
  std::vector<int64_t> timesteps;  // [n] what enters the network: 1000 sigma, truncated
  int64_t num_steps() const { return static_cast<int64_t>(timesteps.size()); }
};

// 0.999 (1 - i/n), shifted; num_steps steps.
NoiseLevels linear_levels(int64_t num_steps, double shift);
// Karras et al. 2022 between 200 and 0.01 with rho 7, as sigma = k / (1 + k), unshifted; num_steps + 1 steps.
NoiseLevels karras_levels(int64_t num_steps);
NoiseLevels noise_levels(Sigmas kind, int64_t num_steps, double shift);
int64_t steps_of_levels(Sigmas kind, int64_t num_steps);  // that noise_levels makes of so many

struct SamplerStep {
  int64_t index;     // 0 .. n - 1
  double sigma;      // noise level of the state (a float32 number)
  int64_t timestep;  // truncated
};
using VelocityFn = std::function<at::Tensor(const at::Tensor& x, const SamplerStep& step)>;
using StateFn =
    std::function<void(const SamplerStep& step, const at::Tensor& x)>;  // x after the step; not to change

// noise: float32 or float64, any shape; the state keeps its dtype. Scalars are computed in double from the
// float32 noise levels. The velocity must have the state's shape; it is converted to its dtype.
at::Tensor sample_unipc(const NoiseLevels& levels, const at::Tensor& noise, const VelocityFn& velocity,
                        const StateFn& after_step = {});
at::Tensor sample_euler(const NoiseLevels& levels, const at::Tensor& noise, const VelocityFn& velocity,
                        const StateFn& after_step = {});
at::Tensor sample(SamplerKind kind, const NoiseLevels& levels, const at::Tensor& noise,
                  const VelocityFn& velocity, const StateFn& after_step = {});

// v2w: v_c + g (v_c - v_u), the released models' (g = 7 is a classic scale of 8); t2w: v_u + g (v_c - v_u).
at::Tensor guided(Guidance formula, double guidance, const at::Tensor& v_cond, const at::Tensor& v_uncond);

}  // namespace orrery::flow
