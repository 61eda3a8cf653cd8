#pragma once
// The algorithm behind memory.policy=auto: which labels a recompute unit keeps so that backward runs least
// again within a budget of memory. Knows units as data alone (unit_trace.h), with measured or planned times.
// Used by train/recompute.h and by plans.
#include "autograd/save_policy.h"
#include "autograd/unit_trace.h"

namespace orrery {

// What one unit costs, exactly, by following the first reads of its backward.
struct RecomputeCost {
  // Held from its forward to its backward: what it keeps, and its results.
  int64_t kept_bytes = 0;
  // Held beside them while it runs: the rest of what it makes. All of it is there when its forward ends,
  // before the unit evicts, and most of it again in its backward. Temporaries inside of ops are not counted.
  int64_t work_bytes = 0;
  // Ops that run again, and the seconds that they take.
  int64_t ops = 0;
  double seconds = 0;
};

// Not a recompute unit: only what backward reads is kept, and nothing runs again.
RecomputeCost cost_without_recompute(const UnitTrace& unit);
RecomputeCost cost_under(const UnitTrace& unit, const SavePolicy& policy);

struct KeptSet {
  bool is_unit = true;              // false: no recompute unit, all that backward reads is kept
  std::vector<std::string> labels;  // kept, as in TracedOp::label; each op of a label is
  RecomputeCost cost;
};

// The sets worth a choice, by rising kept_bytes: for any other there is one here that keeps no more, works
// with no more and takes no longer. First full recompute or what beats it, last no recompute. Exact over the
// kExactLabels labels with most bytes and seconds; the others are added to each set in order of seconds saved
// a byte. Labels that make nothing but views are not kept for themselves.
constexpr size_t kExactLabels = 18;
std::vector<KeptSet> best_sets(const UnitTrace& unit);

// Two sets over a row of equal units: the last ones keep more, since theirs are held for the shortest time.
struct RecomputeChoice {
  KeptSet less, more;
  int64_t num_less = 0, num_more = 0;
  int64_t peak_bytes = 0;  // most at one time: kept of the units up to one, and work_bytes of that one
  double seconds = 0;      // of recompute, all units together

  const KeptSet& set_of(int64_t unit) const { return unit < num_less ? less : more; }
};

// The least seconds with peak_bytes <= budget_bytes, over all pairs of sets and all splits of the units; at
// equal seconds the least bytes. Throws Error with Exit::out_of_memory if nothing fits: it says what full
// recompute and the smallest choice need, and what makes that smaller.
RecomputeChoice choose_recompute(const std::vector<KeptSet>& sets, int64_t num_units, int64_t budget_bytes);

}  // namespace orrery
