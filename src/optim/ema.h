#pragma once
// Exponential moving average of the weights. Called by the trainer around each optimizer step, which moves
// what it can itself; samples and released checkpoints use the averages. Source: power law: Karras et al.
// 2024 ("EDM2", arXiv 2312.02696), cosmos-predict2.5 and cosmos-rl policy/model/wfm/models/t2v_model.py
// (ema_beta); flow_grpo: flow_grpo/ema.py.
#include <cstdint>

#include "base/config.h"
#include "optim/named_tensor.h"

namespace orrery {

struct EmaConfig {
  Ema kind = Ema::power;        // not none
  double rate = 0.1;            // power: width of the profile relative to the run, 0 < rate < 1 / sqrt(12)
  int64_t iteration_shift = 0;  // power: added to the iteration
  double decay = 0.9999;        // constant: beta; flow_grpo: its upper limit; in [0, 1]
  int64_t interval = 1;         // flow_grpo: update at every interval-th iteration only
};
EmaConfig ema_config(const OptimConfig& config);

// Exponent of the power profile: the largest real root of x^3 + 7 x^2 + (16 - s^-2) x + 12 - s^-2 with s =
// rate.
double ema_power_gamma(double rate);

// Weight of the old average at this iteration (0: the first step of the run). power: 0 at iteration 0, so
// that the initial weights are forgotten.
double ema_beta(const EmaConfig& config, int64_t iteration);

// The averages that an iteration moves: average = beta average + (1 - beta) weight; with beta 0 the average
// becomes the weight, whatever it was.
struct DueAverages {
  double beta = 0;
  std::vector<at::Tensor> tensors;  // one a weight, in their order; undefined: not due, or moved already
};

class AveragedWeights {
 public:
  // The averages start as copies of the weights: float32, or float64 for float64 weights. The weights'
  // storage must stay the same from step to step.
  AveragedWeights(const EmaConfig& config, std::vector<NamedTensor> weights);

  void update(int64_t iteration) { finish(due(iteration)); }

  // The same in two parts, between which an optimizer may move averages while it has their weights at hand.
  // It takes them out (AdamW::step).
  DueAverages due(int64_t iteration) const;
  void finish(const DueAverages& due);

  // The averages under the weights' names; they share storage: copy into them to load.
  const std::vector<NamedTensor>& averages() const { return averages_; }

  // While it lives, the weights hold the averages (rounded to their dtype).
  class Swap {
   public:
    explicit Swap(const AveragedWeights& averaged);
    ~Swap();
    Swap(const Swap&) = delete;
    Swap& operator=(const Swap&) = delete;

   private:
    const AveragedWeights& averaged_;
    std::vector<at::Tensor> kept_;
  };

 private:
  EmaConfig config_;
  std::vector<NamedTensor> weights_, averages_;
};

}  // namespace orrery
