#pragma once
// AdamW (Loshchilov and Hutter 2019): decoupled weight decay, bias-corrected moments, one fused pass over the
// weights, which on a GPU also scales the gradients and moves the averages of the weights. The tensors may be
// whole weights or shards of them: the update is elementwise. Called once a step by the trainer.
#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "optim/ema.h"
#include "optim/named_tensor.h"

namespace orrery {

struct AdamWConfig {
  // true: float32 masters and moments, weights are the masters rounded. false: the reference's way (torch
  // AdamW(fused) on bfloat16 weights): moments in the weights' dtype, arithmetic in float32, every store
  // rounded; with beta2 = 0.999 a bfloat16 second moment often cannot move. No difference for float32
  // weights, which are their own masters.
  bool master_weights = true;
  double beta1 = 0.9, beta2 = 0.999;  // in [0, 1)
  double eps = 1e-8;                  // >= 0
  double weight_decay = 1e-3;         // >= 0; w *= 1 - lr weight_decay
  // Weights without decay, by name; '*' stands for any text. The reference decays all. Each must match a
  // weight.
  std::vector<std::string> no_decay{};
};
AdamWConfig adamw_config(const OptimConfig& config);

struct AdamWStep {
  double lr;
  // Gradients count as multiplied by it in place: in their dtype (GradClip::decide).
  double grad_scale = 1;
  DueAverages averages{};  // of the same weights, or of none
};

class AdamW {
 public:
  // weights: float32, bfloat16 or float64, contiguous, on one device; changed in place by step(). Moments
  // start at 0, masters at the weights. Throws Error for other tensors, repeated names or settings out of
  // range.
  AdamW(const AdamWConfig& config, std::vector<NamedTensor> weights);

  // grads: one a weight, in the order of the constructor, same shapes, any floating dtype; undefined: that
  // weight stays (as in torch, also its moments and count). Not changed. Returns the averages that the pass
  // over the weights did not move.
  DueAverages step(const std::vector<at::Tensor>& grads, AdamWStep how);
  void step(const std::vector<at::Tensor>& grads, double lr) { step(grads, AdamWStep{.lr = lr}); }

  // What a checkpoint must hold beside the weights: "exp_avg.NAME", "exp_avg_sq.NAME", "step.NAME" (float32
  // scalar) and, where a master exists, "master.NAME". They share storage: copy into them to load.
  std::vector<NamedTensor> state() const;

  // After the weights were replaced from outside (a checkpoint without masters): masters := weights.
  void masters_from_weights();

 private:
  struct Slot {
    at::Tensor weight, master, exp_avg, exp_avg_sq, step;  // master: undefined where the weight is its own
    double decay;
  };
  struct Batch;  // tensors of one fused call
  void check_step(const std::vector<at::Tensor>& grads, const AdamWStep& how) const;
  void update(const Batch& batch, const AdamWStep& how);
  void update_fused(const Batch& batch, const AdamWStep& how) const;
  void update_foreach(const Batch& batch, double lr) const;

  AdamWConfig config_;
  std::vector<NamedTensor> weights_;
  std::vector<Slot> slots_;
};

}  // namespace orrery
