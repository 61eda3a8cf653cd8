#include "optim/grad_clip.h"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "optim/kernels.h"

namespace orrery {
namespace {

constexpr double kEpsilon = 1e-6;  // torch's clip_grad_norm_

// Norm of each tensor, float64.
at::Tensor norms_of(const std::vector<at::Tensor>& tensors, double norm_type) {
  if (norm_type == 2 && tensors[0].is_cuda())
    if (const auto norms = kernels::cuda::norms(tensors)) return *norms;
  std::vector<at::Tensor> norms;
  for (const at::Tensor& tensor : tensors)
    norms.push_back(at::linalg_vector_norm(tensor, norm_type, {}, false, at::kDouble));
  return at::stack(norms);
}

// Norm of each gradient, 0 where undefined or empty; one transfer from the device.
std::vector<double> norms_of(const std::vector<NamedTensor>& grads, double norm_type) {
  std::vector<at::Tensor> defined;
  for (const NamedTensor& grad : grads)
    if (grad.tensor.defined() && grad.tensor.numel() > 0) defined.push_back(grad.tensor);
  std::vector<double> norms(grads.size(), 0);
  if (defined.empty()) return norms;
  const at::Tensor values = norms_of(defined, norm_type).cpu();
  const double* value = values.const_data_ptr<double>();
  for (size_t i = 0; i < grads.size(); ++i)
    if (grads[i].tensor.defined() && grads[i].tensor.numel() > 0) norms[i] = *value++;
  return norms;
}

std::vector<std::string> nonfinite_names(const std::vector<NamedTensor>& grads,
                                         const std::vector<double>& norms) {
  std::vector<std::string> names;
  for (size_t i = 0; i < grads.size(); ++i)
    if (!std::isfinite(norms[i])) names.push_back(grads[i].name);
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
    if (grad.tensor.defined() && grad.tensor.numel() > 0 && done.insert(grad.tensor.const_data_ptr()).second)
      distinct.push_back(grad.tensor);
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

double GradClip::global_norm(const std::vector<double>& norms) const {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (std::isinf(config_.norm_type)) {
    double largest = 0;  // NaN counts as infinite: maxima over ranks do not agree about it
    for (const double norm : norms) largest = std::max(largest, std::isfinite(norm) ? norm : kInf);
    return combine_ ? combine_(largest, Combine::max) : largest;
  }
  double sum = 0;
  for (const double norm : norms) sum += std::pow(norm, config_.norm_type);
  return std::pow(combine_ ? combine_(sum, Combine::sum) : sum, 1 / config_.norm_type);
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
    result.norm = global_norm(norms_of(grads, config_.norm_type));
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
  const std::vector<double> norms = norms_of(grads, config_.norm_type);
  ClipResult result{.norm = global_norm(norms), .nonfinite = nonfinite_names(grads, norms)};
  if (!std::isfinite(result.norm)) handle_nonfinite(grads, result);
  if (result.skip) return result;
  skipped_in_a_row_ = 0;
  if (config_.max_norm > 0) result.scale = std::min(1.0, config_.max_norm / (result.norm + kEpsilon));
  if (result.scale < 1) scale_grads(grads, result.scale);
  return result;
}

}  // namespace orrery
