#include "optim/ema.h"

#include <ATen/ops/_foreach_lerp.h>

#include <cmath>

#include "base/error.h"
#include "base/memory.h"
#include "optim/kernels.h"

namespace orrery {
namespace {

constexpr double kLargestRate = 0.28867513459481287;  // 1 / sqrt(12), where gamma is 0: a plain mean

void check(const EmaConfig& c) {
  require(c.kind != Ema::none, "EMA: kind none has no average");
  if (c.kind == Ema::power)
    require(c.rate > 0 && c.rate < kLargestRate, "EMA: rate ", c.rate, ", wanted a number in (0, ",
            kLargestRate, ")");
  else
    require(c.decay >= 0 && c.decay <= 1, "EMA: decay ", c.decay, ", wanted a number in [0, 1]");
  require(c.interval >= 1, "EMA: an update every ", c.interval, " steps, wanted at least 1");
}

}  // namespace

EmaConfig ema_config(const OptimConfig& config) {
  return {.kind = config.ema, .rate = config.ema_rate, .decay = config.ema_decay};
}

double ema_power_gamma(double rate) {
  require(rate > 0 && rate < kLargestRate, "EMA: rate ", rate, ", wanted a number in (0, ", kLargestRate,
          ")");
  // Newton's method from 1/s, which lies above the only positive root; the cubic is convex there, so it falls
  // onto it.
  const double q = 1 / (rate * rate);
  double x = 1 / rate;
  for (int i = 0; i < 100; ++i) {
    const double value = ((x + 7) * x + (16 - q)) * x + (12 - q), slope = (3 * x + 14) * x + (16 - q);
    const double next = x - value / slope;
    if (!(next < x)) break;
    x = next;
  }
  return x;
}

double ema_beta(const EmaConfig& config, int64_t iteration) {
  check(config);
  require(iteration >= 0, "EMA: iteration ", iteration, ", wanted >= 0");
  if (config.kind == Ema::constant) return config.decay;
  const double n = static_cast<double>(iteration);
  if (config.kind == Ema::flow_grpo) return std::min((1 + n) / (10 + n), config.decay);
  const double shifted = n + static_cast<double>(config.iteration_shift);
  if (shifted < 1) return 0;
  return std::pow(1 - 1 / (shifted + 1), ema_power_gamma(config.rate) + 1);
}

AveragedWeights::AveragedWeights(const EmaConfig& config, std::vector<NamedTensor> weights)
    : config_(config), weights_(std::move(weights)) {
  check(config_);
  const MemoryTag tag(MemoryUse::averages);
  for (const NamedTensor& weight : weights_) {
    require(weight.tensor.defined() && weight.tensor.is_floating_point(), "EMA: ", weight.name,
            " is not a floating-point tensor with storage");
    const at::ScalarType dtype = weight.tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    averages_.push_back({weight.name, weight.tensor.to(dtype, /*non_blocking=*/false, /*copy=*/true)});
  }
}

DueAverages AveragedWeights::due(int64_t iteration) const {
  DueAverages out{.beta = ema_beta(config_, iteration), .tensors = std::vector<at::Tensor>(averages_.size())};
  if (config_.kind == Ema::flow_grpo && (iteration + 1) % config_.interval != 0) return out;
  for (size_t i = 0; i < averages_.size(); ++i) out.tensors[i] = averages_[i].tensor;
  return out;
}

void AveragedWeights::finish(const DueAverages& due) {
  require(due.tensors.size() == weights_.size(), "EMA: ", due.tensors.size(), " averages due of ",
          weights_.size(), " weights");
  const double beta = due.beta;
  std::vector<at::Tensor> averages, weights, cuda_averages, cuda_weights;  // together below
  for (size_t i = 0; i < weights_.size(); ++i) {
    const at::Tensor &average = due.tensors[i], &weight = weights_[i].tensor;
    if (!average.defined()) continue;
    if (beta == 0) {
      average.copy_(weight);
    } else if (weight.is_cuda() && kernels::cuda::takes_average(average, weight)) {
      cuda_averages.push_back(average);
      cuda_weights.push_back(weight);
    } else if (weight.scalar_type() == average.scalar_type()) {
      averages.push_back(average);
      weights.push_back(weight);
    } else {
      average.lerp_(weight.to(average.scalar_type()), 1 - beta);
    }
  }
  if (!cuda_averages.empty()) kernels::cuda::average(cuda_averages, cuda_weights, 1 - beta);
  if (!averages.empty()) at::_foreach_lerp_(averages, weights, 1 - beta);
}

AveragedWeights::Swap::Swap(const AveragedWeights& averaged) : averaged_(averaged) {
  for (size_t i = 0; i < averaged_.weights_.size(); ++i) {
    kept_.push_back(averaged_.weights_[i].tensor.clone());
    averaged_.weights_[i].tensor.copy_(averaged_.averages_[i].tensor);
  }
}

AveragedWeights::Swap::~Swap() {
  for (size_t i = 0; i < kept_.size(); ++i) averaged_.weights_[i].tensor.copy_(kept_[i]);
}

}  // namespace orrery
