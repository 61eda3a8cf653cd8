#pragma once
// One rank of a plan: the network on its mesh of planned Comms, without memory, and what its step does.
// Behind dry_run.h; only this folder uses it.
#include <functional>

#include "autograd/recompute_search.h"
#include "infer/world_model.h"
#include "model/no_films.h"
#include "plan/cost.h"
#include "plan/dry_run.h"
#include "plan/encoders.h"
#include "train/step.h"

namespace orrery {

struct LatentShape {
  int64_t channels, frames, height, width;
};
LatentShape latent_shape(const Config& config);

class PlannedRank {
 public:
  PlannedRank(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings);

  // A block as data, with planned seconds, for memory.policy=auto. Its traffic counts into a run: use a rank
  // of its own.
  UnitTrace trace_block();
  void attach(const RecomputeChoice& choice);
  // The step; everything but what finish() adds. Once.
  PlanReport run();

 private:
  struct MicroBatches {
    int64_t clips, count;
  };
  // What happened up to a moment of the step.
  struct Moment {
    double now = 0, waited = 0;
    OpCost::Tally tally;
    size_t collectives = 0;
  };
  static MicroBatches micro_batches(const Config& config, int64_t clips);
  Moment moment() const;
  MemoryUsage fullest_in(const std::function<void()>& work);
  void forward_backward();
  void make_workspace_of_update(const std::vector<at::Tensor>& gradients);
  void count(PlanReport& report, const Moment& moment, double times) const;
  bool has_fused_update() const;
  double update_bytes();

  const Config& config_;
  const Ceilings& ceilings_;
  PlanClock clock_;
  PlannedNetwork network_;
  const Mesh mesh_;
  const int64_t clips_;  // of the rank's context group
  const MicroBatches micro_;
  MemoryMeter meter_;
  DiT net_;
  ParallelDiT model_;
  const NoTokenizer tokenizer_;
  const NoText text_;
  const PlannedEncoders encoders_;
  TrainStep step_;
  OpCost cost_;
};

}  // namespace orrery
