#pragma once
// OpCost: what the ops of a dry run take on a device. It sees every op, lets the clock go on by the op's time
// and, for devices with fused kernels, keeps the temporaries of their ATen twins out of the memory's peak.
//
// Time of an op: the longest of its arithmetic at the rate of its engine, its bytes (inputs, outputs, and in
// backward what it saved) at the memory's rate, and op_us, with a tail for each matrix product; none for an
// op that only gives its input another shape. Gradients that are added up in backward take two reads and a
// write. Recompute takes time and is no part of the model's FLOPs.
//
// Attention's backward on a GPU has a workspace (ops/attention_workspace.h), which is in the peak beside the
// gradients that it makes, and with numerics.deterministic a rate of its own.
#include <c10/util/intrusive_ptr.h>

#include <map>

#include "autograd/observer.h"
#include "base/memory.h"
#include "plan/ceilings.h"

namespace orrery {

// What a run of an op reads, writes and computes. bytes: inputs, outputs and, in backward, what it saved.
struct OpWork {
  bool is_view = false;  // gives its input another shape and no more
  double bytes = 0, flops = 0;
};
OpWork work_of(const OpCall& call, const Tensors& out);

class OpCost final : public OpObserver {
 public:
  struct Tally {
    double forward_flops = 0;  // of all ops, once
    double forward_s = 0, recompute_s = 0, backward_s = 0;
    std::map<std::string, int64_t>
        kept_bytes;  // activations at the start of backward, by label with * for numbers
    std::map<std::string, double> seconds;  // by name of the op
  };
  OpCost(const Ceilings& ceilings, PlanClock& clock, MemoryMeter& meter, bool deterministic);

  void before(const OpCall& call) override;
  void after(const OpCall& call, const Tensors& out) override;
  std::function<void()> on_next_micro_batch = [] {};  // a forward begins after a backward
  const Tally& tally() const { return tally_; }
  double seconds_of(const OpCall& call, const Tensors& out) const;

 private:
  struct Kept {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
    std::string label;
  };
  bool is_half_attention_backward(const OpCall& call) const;
  bool is_tiled(const OpCall& call, const std::vector<Shape>& shapes) const;
  int64_t attention_workspace_bytes(const OpCall& call) const;  // of is_half_attention_backward
  double attention_flops_per_s(const OpCall& call, const std::vector<Shape>& shapes) const;
  double flops_per_s(const OpCall& call, const std::vector<Shape>& shapes) const;
  void remember(const OpCall& call, const Tensors& out);
  void count_kept();

  const Ceilings& ceilings_;
  PlanClock& clock_;
  MemoryMeter& meter_;
  const bool deterministic_;
  Tally tally_;
  std::vector<Kept> made_;  // results of the current forward
  bool was_backward_ = false;
};

// "blocks.7.mlp" -> "blocks.*.mlp"
std::string without_numbers(const std::string& label);

}  // namespace orrery
