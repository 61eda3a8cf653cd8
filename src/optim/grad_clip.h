#pragma once
// Clipping by the global norm of all gradients, with a check that they are finite. Called by the trainer
// between backward and the optimizer step. Source: cosmos-predict2.5, predict2/callbacks/grad_clip.py and
// predict2/utils/torch_future.py. Norms are in float64 whatever the gradients' dtype (the reference rounds
// those of bfloat16 gradients to bfloat16).
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/config.h"
#include "optim/named_tensor.h"

namespace orrery {

struct ClipConfig {
  double max_norm = 0.1;  // 0: no clipping, the norm is only measured
  double norm_type = 2;   // p of the norm, >= 1; infinity: largest absolute value
  // NaN or Inf in a gradient. stop: Error that names the tensors. skip: leave everything as it is and say so.
  // zero: these entries become 0, as in the reference.
  NonFinite nonfinite = NonFinite::stop;
  int64_t max_skips_in_a_row = 100;  // skip: then it is an Error after all
};
ClipConfig clip_config(const OptimConfig& config);

struct ClipResult {
  double norm = 0;    // global norm before clipping; NaN or Inf if the step is to be skipped
  double scale = 1;   // what the gradients are to be multiplied with: min(1, max_norm / (norm + 1e-6))
  bool skip = false;  // the caller must not take this step
  std::vector<std::string> nonfinite{};  // gradients of this rank with NaN or Inf
};

class GradClip {
 public:
  // Combines a number, float64 (1), over the ranks that hold different gradients: sum, or max for the
  // infinity norm. Each rank must get the same result; the same number of calls is made on each.
  enum class Combine { sum, max };
  using CombineFn = std::function<at::Tensor(const at::Tensor& mine, Combine how)>;

  explicit GradClip(const ClipConfig& config, CombineFn combine = {});

  // Scales the gradients in place. Undefined ones are passed over; two that share all their storage are
  // scaled once.
  ClipResult operator()(const std::vector<NamedTensor>& grads);

  // The same in parts, for a caller that reads more from the device in one transfer and whose update scales
  // the gradients as it reads them (AdamW::step). What the clip goes by: float64 (1 + N), of all ranks the
  // sum of the norms to the power p (infinity: the largest), then the norms of the N gradients of this rank
  // that have values. On the device; the host does not wait.
  at::Tensor measure(const std::vector<NamedTensor>& grads) const;
  // measured: on the CPU. Changes gradients only where entries are to become 0; `scale` is left to the
  // caller.
  ClipResult decide(const std::vector<NamedTensor>& grads, const at::Tensor& measured);

  int64_t num_skipped() const { return num_skipped_; }  // steps so far

 private:
  double norm_of(const at::Tensor& measured) const;
  void handle_nonfinite(const std::vector<NamedTensor>& grads, ClipResult& result);

  ClipConfig config_;
  CombineFn combine_;
  int64_t num_skipped_ = 0, skipped_in_a_row_ = 0;
};

}  // namespace orrery
