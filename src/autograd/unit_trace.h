#pragma once
// UnitTrace: one call of a recompute unit as data: its ops in order, what they make, what backward reads and
// how long each takes. What recompute_search.h decides from; a plan puts its own times in.
#include <functional>
#include <string>
#include <vector>

#include "autograd/module.h"
#include "autograd/op.h"

namespace orrery {

// A tensor made inside the unit. Weights and inputs come from outside: the unit neither keeps nor makes them.
struct TracedValue {
  static constexpr size_t kOutside = static_cast<size_t>(-1);
  size_t storage = kOutside;  // index into UnitTrace::storage_bytes; kOutside: a view of something outside
  bool is_result = false;     // outlives the unit: never evicted
};

struct TracedOp {
  std::string label;            // without the unit's own path: "mlp.layer1.linear"
  std::vector<size_t> inputs;   // values (indices) that forward takes, of those made inside
  std::vector<size_t> outputs;  // values that it makes and that somebody holds
  std::vector<size_t> reads;    // values that its backward reads, of those made inside
  double seconds = 0;           // of one forward, as it was measured or planned
  // What a plan makes seconds of.
  Engine engine = Engine::memory;
  double flops = 0;
  double moved_bytes = 0;  // of inputs and outputs; 0: the output is a view of the input
};

struct UnitTrace {
  std::string path;  // of the unit: "blocks.7"
  std::vector<TracedOp> ops;
  std::vector<TracedValue> values;
  std::vector<int64_t> storage_bytes;

  double forward_seconds() const;
};

// Traces a call of the unit, whatever its save policy. forward calls it once and returns its results. Runs
// forward once, and, if timed_runs > 0, 1 + timed_runs times: after a warm-up, an op's time is its median,
// with the device idle before and after. Without timed runs meta tensors do. No backward runs. Collective if
// the unit's ops are. Throws Error if forward does not call the unit, or calls it inside of another one.
//
// An op whose inputs need no gradient may read less in backward than it declares; reads has what it declares.
UnitTrace trace_unit(Module& unit, const std::function<Variables()>& forward, int64_t timed_runs);

}  // namespace orrery
