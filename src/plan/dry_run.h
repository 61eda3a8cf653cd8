#pragma once
// A dry run: one training step of one rank on meta tensors, by the training program itself, with planned
// collectives and a simulated clock. What a rank's memory holds, what travels and how long a step takes
// follow from what the program does, so they cannot drift from it. Called by orrery plan, and by train before
// it starts.
#include <map>

#include "base/config.h"
#include "base/memory.h"
#include "plan/ceilings.h"

namespace orrery {

// One kind of collective in one group, all of a step together.
struct PlannedTraffic {
  std::string what, group;  // "all_gather", "shard-context"
  int ranks = 0, nodes = 0;
  double calls = 0, bytes = 0, seconds = 0;  // bytes: of the larger tensor of each call
};

struct PlanReport {
  Config config;  // with the layout filled in
  MeshShape mesh;
  int64_t clips = 0;  // of a rank's context group in a step

  // Memory of the rank, bytes
  MemoryUsage memory;    // of forward, backward and update, when the total is largest
  MemoryUsage encoding;  // the same of what comes before (plan/encoders.h); zeros: nothing
  MemoryUsage sampling;  // the same of the autoencoder between steps, where samples are made; zeros: nothing
  const MemoryUsage& fullest() const;
  std::map<std::string, double> kept;  // activations kept for backward, by label
  double reserved = 0, fragmentation = 0;
  double limit = 0;
  double total() const;
  bool fits() const { return total() <= limit; }
  std::string recompute;  // memory.policy=auto: what blocks keep; else empty

  // Time of a step, seconds
  double step_s = 0;
  double forward_s = 0, recompute_s = 0, backward_s = 0, update_s = 0;
  std::map<std::string, double> op_s;  // of forward, recompute and backward, by name of the op
  double copy_s = 0;                   // of weights and gradients into and out of the collectives' buffers
  double exposed_s = 0;                // communication that nothing hid
  std::vector<PlannedTraffic> traffic;

  double clip_flops = 0;          // forward, by the formula
  double counted_clip_flops = 0;  // forward, of the ops that ran
  double mfu = 0;                 // 3 clip_flops a clip over all ranks' peak
  double clips_per_s = 0;         // of all ranks
};

// Plans config's layout (parallel.*, memory.*, train.micro_batch) for rank 0 of node_of.size() ranks. limit:
// memory.limit_gib, or all that the device has. Throws Error where the settings do not fit the ranks.
PlanReport dry_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings);
// The same from runs of a few blocks, as every figure is linear in the number of blocks from a few on.
PlanReport quick_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings);

// Fills in what follows from the rest: reserved memory, limit, MFU.
void finish(PlanReport& report, const Ceilings& ceilings);

// Ranks on nodes, filled one after the other.
std::vector<int> nodes_of(int64_t ranks, const Ceilings& ceilings);

// FLOPs of one forward of a clip, a multiply-add as two: matrix products and attention (specification of
// Cosmos-Predict2.5's network; modulations are left out).
double forward_flops(const Config& config);

}  // namespace orrery
