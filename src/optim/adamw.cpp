#include "optim/adamw.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_div.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sqrt.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <set>

#include "autograd/save_policy.h"
#include "base/error.h"
#include "base/memory.h"
#include "optim/ema.h"
#include "optim/kernels.h"

namespace orrery {
namespace {

void check(const AdamWConfig& c) {
  require(c.beta1 >= 0 && c.beta1 < 1 && c.beta2 >= 0 && c.beta2 < 1, "AdamW: betas ", c.beta1, ", ", c.beta2,
          ", wanted numbers in [0, 1)");
  require(c.eps >= 0 && std::isfinite(c.eps), "AdamW: eps ", c.eps, ", wanted a number >= 0");
  require(c.weight_decay >= 0 && std::isfinite(c.weight_decay), "AdamW: weight decay ", c.weight_decay,
          ", wanted a number >= 0");
}

void check_weight(const NamedTensor& weight, const at::Tensor& first) {
  const at::Tensor& w = weight.tensor;
  require(w.defined(), "AdamW: ", weight.name, " has no storage");
  const at::ScalarType dtype = w.scalar_type();
  require(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kDouble, "AdamW: ", weight.name,
          " is ", dtype, ", wanted float32, bfloat16 or float64");
  require(w.is_contiguous(), "AdamW: ", weight.name, " is not contiguous");
  require(w.device() == first.device(), "AdamW: ", weight.name, " is on ", w.device(),
          ", the first weight on ", first.device());
}

// Has kernels::cuda::adamw, which takes gradients as they are, scales them and moves averages.
bool is_fused(const at::Tensor& weight) {
  return weight.is_cuda() && weight.scalar_type() == at::kFloat;
}

// A copy, multiplied as GradClip does it: on the CPU ATen rounds the factor to bfloat16 in place only.
at::Tensor scaled(const at::Tensor& grad, double scale) {
  if (scale == 1) return grad;
  const at::Tensor out = grad.clone();
  at::_foreach_mul_(out, scale);
  return out;
}

// The average of a weight, for the fused kernel to move; undefined where it is not due or not for the kernel.
at::Tensor take_average(DueAverages& due, size_t i, const at::Tensor& weight) {
  const bool is_due = !due.tensors.empty() && due.tensors[i].defined();
  if (!is_due || due.beta == 0 || !kernels::cuda::takes_average(due.tensors[i], weight)) return {};
  return std::exchange(due.tensors[i], {});
}

// The count of updates, of a scalar in host memory: without ATen's calls, for all weights are counted while
// the device waits for the first kernel.
float& count_of(const at::Tensor& step) {
  return *step.mutable_data_ptr<float>();
}

bool has_decay(const AdamWConfig& config, const std::string& name) {
  return std::none_of(config.no_decay.begin(), config.no_decay.end(),
                      [&](const std::string& pattern) { return matches_pattern(name, pattern); });
}

}  // namespace

// One call of the fused kernel: tensors of one dtype and one weight decay. On the CPU a call per weight, so
// that a bfloat16 gradient needs a float32 copy of one weight only.
struct AdamW::Batch {
  std::vector<at::Tensor> weights, grads, exp_avg, exp_avg_sq, steps;  // weights: masters where they exist
  std::vector<at::Tensor> rounded;   // to refresh from their masters; undefined where the weight is its own
  std::vector<at::Tensor> averages;  // to move; undefined where there is none
  double decay = 0;
  int64_t numel = 0;
};

AdamWConfig adamw_config(const OptimConfig& config) {
  return {.master_weights = config.master_weights,
          .beta1 = config.beta1,
          .beta2 = config.beta2,
          .eps = config.eps,
          .weight_decay = config.weight_decay,
          .no_decay = {}};
}

AdamW::AdamW(const AdamWConfig& config, std::vector<NamedTensor> weights)
    : config_(config), weights_(std::move(weights)) {
  check(config_);
  const MemoryTag tag(MemoryUse::optimizer);
  std::set<std::string> names;
  for (const NamedTensor& weight : weights_) {
    require(names.insert(weight.name).second, "AdamW: two weights are called ", weight.name);
    check_weight(weight, weights_[0].tensor);
    Slot slot;
    slot.weight = weight.tensor;
    const bool master = config_.master_weights && weight.tensor.scalar_type() == at::kBFloat16;
    if (master) slot.master = weight.tensor.to(at::kFloat);
    const at::Tensor& updated = master ? slot.master : slot.weight;
    slot.exp_avg = at::zeros_like(updated);
    slot.exp_avg_sq = at::zeros_like(updated);
    slot.step = at::zeros({}, at::kFloat);  // on the CPU: read every step
    slot.decay = has_decay(config_, weight.name) ? config_.weight_decay : 0;
    slots_.push_back(std::move(slot));
  }
  for (const std::string& pattern : config_.no_decay)
    require(std::any_of(weights_.begin(), weights_.end(),
                        [&](const auto& w) { return matches_pattern(w.name, pattern); }),
            "AdamW: no_decay: no weight is called ", pattern);
}

// float32 weights on a GPU, masters or not. ATen's fused CUDA kernel is not used: it forms 1 - beta2 in
// float32.
void AdamW::update_fused(const Batch& batch, const AdamWStep& how) const {
  const double step = count_of(batch.steps[0]);
  kernels::cuda::adamw({.weights = batch.weights,
                        .grads = batch.grads,
                        .exp_avg = batch.exp_avg,
                        .exp_avg_sq = batch.exp_avg_sq,
                        .rounded = batch.rounded,
                        .averages = batch.averages},
                       {.grad_scale = how.grad_scale,
                        .keep_weight = 1 - how.lr * batch.decay,
                        .keep_avg = config_.beta1,
                        .add_grad = 1 - config_.beta1,
                        .keep_avg_sq = config_.beta2,
                        .add_grad_sq = 1 - config_.beta2,
                        .root_of_bias2 = std::sqrt(1 - std::pow(config_.beta2, step)),
                        .eps = config_.eps,
                        .step = how.lr / (1 - std::pow(config_.beta1, step)),
                        .average_rate = 1 - how.averages.beta});
}

// float64 weights on a GPU, in several passes.
void AdamW::update_foreach(const Batch& batch, double lr) const {
  const double step = count_of(batch.steps[0]);
  const double bias1 = 1 - std::pow(config_.beta1, step), bias2 = 1 - std::pow(config_.beta2, step);
  at::_foreach_mul_(batch.weights, 1 - lr * batch.decay);
  at::_foreach_lerp_(batch.exp_avg, batch.grads, 1 - config_.beta1);
  at::_foreach_mul_(batch.exp_avg_sq, config_.beta2);
  at::_foreach_addcmul_(batch.exp_avg_sq, batch.grads, batch.grads, 1 - config_.beta2);
  const std::vector<at::Tensor> root = at::_foreach_sqrt(batch.exp_avg_sq);
  at::_foreach_div_(root, std::sqrt(bias2));
  at::_foreach_add_(root, config_.eps);
  at::_foreach_addcdiv_(batch.weights, batch.exp_avg, root, -lr / bias1);
}

void AdamW::update(const Batch& batch, const AdamWStep& how) {
  const at::Tensor& first = batch.weights[0];
  if (is_fused(first)) return update_fused(batch, how);
  if (first.is_cuda() && first.scalar_type() == at::kDouble) return update_foreach(batch, how.lr);
  std::vector<at::Tensor> steps;
  for (const at::Tensor& step : batch.steps) steps.push_back(step.to(first.device()));
  at::_fused_adamw_(batch.weights, batch.grads, batch.exp_avg, batch.exp_avg_sq, {}, steps, how.lr,
                    config_.beta1, config_.beta2, batch.decay, config_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
  for (size_t i = 0; i < batch.rounded.size(); ++i)
    if (batch.rounded[i].defined()) batch.rounded[i].copy_(batch.weights[i]);
}

void AdamW::check_step(const std::vector<at::Tensor>& grads, const AdamWStep& how) const {
  require(grads.size() == slots_.size(), "AdamW: ", grads.size(), " gradients for ", slots_.size(),
          " weights");
  require(std::isfinite(how.lr) && how.lr >= 0, "AdamW: learning rate ", how.lr, ", wanted a number >= 0");
  require(std::isfinite(how.grad_scale), "AdamW: gradients to be multiplied with ", how.grad_scale);
  const auto check_shape = [&](size_t i, const at::Tensor& t, const char* what) {
    require(!t.defined() || t.sizes() == slots_[i].weight.sizes(), "AdamW: ", weights_[i].name, " is ",
            slots_[i].weight.sizes(), ", its ", what, ' ', t.defined() ? t.sizes() : at::IntArrayRef{});
  };
  for (size_t i = 0; i < slots_.size(); ++i) check_shape(i, grads[i], "gradient");
  const std::vector<at::Tensor>& averages = how.averages.tensors;
  if (averages.empty()) return;
  require(averages.size() == slots_.size(), "AdamW: ", averages.size(), " averages for ", slots_.size(),
          " weights");
  for (size_t i = 0; i < slots_.size(); ++i) check_shape(i, averages[i], "average");
}

DueAverages AdamW::step(const std::vector<at::Tensor>& grads, AdamWStep how) {
  check_step(grads, how);
  constexpr int64_t kBatch = int64_t{1} << 26;  // elements; bounds the copies of gradients on the GPU
  Batch batch;
  const auto flush = [&] {
    if (!batch.weights.empty()) update(batch, how);
    batch = {};
  };
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!grads[i].defined()) continue;
    Slot& slot = slots_[i];
    const at::Tensor& weight = slot.master.defined() ? slot.master : slot.weight;
    const bool joins = !batch.weights.empty() && weight.is_cuda() && batch.decay == slot.decay &&
                       batch.weights[0].scalar_type() == weight.scalar_type() &&
                       count_of(batch.steps[0]) == count_of(slot.step) + 1 &&
                       (is_fused(weight) || batch.numel < kBatch);
    if (!joins) flush();
    batch.weights.push_back(weight);
    if (is_fused(weight)) {
      batch.grads.push_back(grads[i]);
      batch.averages.push_back(take_average(how.averages, i, slot.weight));
    } else {
      batch.grads.push_back(scaled(grads[i], how.grad_scale).to(weight.scalar_type()).contiguous());
    }
    batch.exp_avg.push_back(slot.exp_avg);
    batch.exp_avg_sq.push_back(slot.exp_avg_sq);
    ++count_of(slot.step);
    batch.steps.push_back(slot.step);
    batch.rounded.push_back(slot.master.defined() ? slot.weight : at::Tensor());
    batch.decay = slot.decay;
    batch.numel += weight.numel();
  }
  flush();
  return std::move(how.averages);
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> out;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const std::string& name = weights_[i].name;
    out.push_back({"exp_avg." + name, slots_[i].exp_avg});
    out.push_back({"exp_avg_sq." + name, slots_[i].exp_avg_sq});
    out.push_back({"step." + name, slots_[i].step});
    if (slots_[i].master.defined()) out.push_back({"master." + name, slots_[i].master});
  }
  return out;
}

void AdamW::masters_from_weights() {
  for (Slot& slot : slots_)
    if (slot.master.defined()) slot.master.copy_(slot.weight);
}

}  // namespace orrery
