#include "optim/grad_clip.h"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "optim/kernels.h"

namespace orrery {
namespace {

constexpr double kEpsilon = 1e-6;  // torch's clip_grad_norm_

bool has_values(const NamedTensor& grad) {
  return grad.tensor.defined() && grad.tensor.numel() > 0;
}

// Norm of each gradient that has values, float64 on their device.
at::Tensor norms_of(const std::vector<NamedTensor>& grads, double norm_type) {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& grad : grads)
    if (has_values(grad)) tensors.push_back(grad.tensor);
  if (tensors.empty()) return at::zeros({0}, at::kDouble);
  if (norm_type == 2 && tensors[0].is_cuda())
    if (const auto norms = kernels::cuda::norms(tensors)) return *norms;
  std::vector<at::Tensor> norms;
  for (const at::Tensor& tensor : tensors)
    norms.push_back(at::linalg_vector_norm(tensor, norm_type, {}, false, at::kDouble));
  return at::stack(norms);
}

// norms: of the gradients that have values, on the CPU.
std::vector<std::string> nonfinite_names(const std::vector<NamedTensor>& grads, const at::Tensor& norms) {
  std::vector<std::string> names;
  const double* norm = norms.const_data_ptr<double>();
  for (const NamedTensor& grad : grads)
    if (has_values(grad) && !std::isfinite(*norm++)) names.push_back(grad.name);
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  if (names.empty()) return "a gradient of another rank";
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMost); ++i) text += (i > 0 ? ", " : "") + names[i];
  return names.size() > kMost ? text + " and " + std::to_string(names.size() - kMost) + " more" : text;
}

void scale_grads(const std::vector<NamedTensor>& grads, double scale) {
  std::set<const void*> done;
  std::vector<at::Tensor> distinct;
  for (const NamedTensor& grad : grads)
    if (has_values(grad) && done.insert(grad.tensor.const_data_ptr()).second) distinct.push_back(grad.tensor);
  if (!distinct.empty()) at::_foreach_mul_(distinct, scale);
}

}  // namespace

ClipConfig clip_config(const OptimConfig& config) {
  return {.max_norm = config.clip, .norm_type = 2, .nonfinite = config.nonfinite};
}

GradClip::GradClip(const ClipConfig& config, CombineFn combine)
    : config_(config), combine_(std::move(combine)) {
  require(config.max_norm >= 0, "gradient clip: limit ", config.max_norm, ", wanted a number >= 0");
  require(config.norm_type >= 1, "gradient clip: norm of order ", config.norm_type, ", wanted a number >= 1");
  require(config.max_skips_in_a_row >= 1, "gradient clip: at most ", config.max_skips_in_a_row,
          " skipped steps in a row, wanted at least 1");
}

at::Tensor GradClip::measure(const std::vector<NamedTensor>& grads) const {
  const at::Tensor norms = norms_of(grads, config_.norm_type);
  const bool is_largest = std::isinf(config_.norm_type);
  at::Tensor total = at::zeros({1}, norms.options());
  if (is_largest && norms.numel() > 0) {
    // NaN counts as infinite: maxima over ranks do not agree about it.
    const at::Tensor known = at::where(at::isfinite(norms), norms, std::numeric_limits<double>::infinity());
    total = known.max().view({1});
  } else if (!is_largest) {
    total = norms.pow(config_.norm_type).sum().view({1});
  }
  if (combine_) total = combine_(total, is_largest ? Combine::max : Combine::sum);
  return at::cat({total, norms.to(total.options())});
}

double GradClip::norm_of(const at::Tensor& measured) const {
  const double total = *measured.const_data_ptr<double>();
  return std::isinf(config_.norm_type) ? total : std::pow(total, 1 / config_.norm_type);
}

// All ranks come here together: the norm is theirs in common.
void GradClip::handle_nonfinite(const std::vector<NamedTensor>& grads, ClipResult& result) {
  const std::string which = joined(result.nonfinite);
  if (config_.nonfinite == NonFinite::stop)
    throw Error(
        text_of("gradients are not finite: ", which,
                " (learning rate too high, or bad data? optim.nonfinite = skip passes over such steps)"),
        Exit::failure);
  if (config_.nonfinite == NonFinite::zero) {
    for (const NamedTensor& grad : grads)
      if (grad.tensor.defined()) grad.tensor.nan_to_num_(0, 0, 0);
    result.norm = norm_of(measure(grads).cpu());
    if (!std::isfinite(result.norm))
      throw Error("gradients: the norm of the finite entries overflows", Exit::failure);
    return;
  }
  result.skip = true;
  ++num_skipped_;
  if (++skipped_in_a_row_ >= config_.max_skips_in_a_row)
    throw Error(text_of("gradients were not finite in ", skipped_in_a_row_, " steps in a row, now: ", which),
                Exit::failure);
}

ClipResult GradClip::operator()(const std::vector<NamedTensor>& grads) {
  const ClipResult result = decide(grads, measure(grads).cpu());
  if (result.scale < 1) scale_grads(grads, result.scale);
  return result;
}

ClipResult GradClip::decide(const std::vector<NamedTensor>& grads, const at::Tensor& measured) {
  ClipResult result{.norm = norm_of(measured), .nonfinite = nonfinite_names(grads, measured.slice(0, 1))};
  if (!std::isfinite(result.norm)) handle_nonfinite(grads, result);
  if (result.skip) return result;
  skipped_in_a_row_ = 0;
  if (config_.max_norm > 0) result.scale = std::min(1.0, config_.max_norm / (result.norm + kEpsilon));
  return result;
}

}  // namespace orrery
