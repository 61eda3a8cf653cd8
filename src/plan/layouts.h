#pragma once
// The layouts worth a look for a number of ranks: replicate x shard x context, recompute policy and
// micro-batch, each planned, the fastest first. Called by orrery plan, and where a layout does not fit.
#include "plan/dry_run.h"

namespace orrery {

// Clips of a step: those of train.batch, or one for each group of ranks that shares a clip, so that the work
// of a rank does not depend on their number.
enum class ClipsOf { batch, groups };

// Layouts that fit, by falling clips a second. Context sizes are those that divide frames, leave each rank a
// head and stay inside a node; of shard sizes that fit, the three smallest. Micro-batches are train's; where
// that is 0 also single clips, their gradients reduced together or one by one. The policies are none, the two
// modes of the reference that keep attention, and full; the first that fits counts. Under memory.policy=auto
// the best layout is planned again with it. Empty: nothing fits.
std::vector<PlanReport> best_layouts(const Config& config, int64_t ranks, const Ceilings& ceilings,
                                     ClipsOf clips);

struct MicroBatch {
  int64_t clips = 0;         // train.micro_batch
  bool reduce_each = false;  // parallel.reduce_each_micro_batch
};
// The layout of config: the same settings with another mesh, policy and micro-batch.
Config with_layout(Config config, const MeshShape& mesh, MemoryPolicy policy, const MicroBatch& micro);

}  // namespace orrery
