// From two dry runs of a few blocks to one of many: what a block adds is the same for each of them.
#include "infer/world_model.h"
#include "plan/dry_run.h"

namespace orrery {
namespace {

// Enough for the ends of the row (which are prefetched, kept or resharded otherwise) not to meet.
constexpr int64_t kFew = 4, kMore = 5;

class Line {
 public:
  explicit Line(int64_t blocks) : share_(static_cast<double>(blocks - kFew) / (kMore - kFew)) {}
  double operator()(double few, double more) const { return few + share_ * (more - few); }
  int64_t operator()(int64_t few, int64_t more) const {
    return few + static_cast<int64_t>(share_) * (more - few);
  }

 private:
  double share_;
};

Config with_blocks(Config config, int64_t blocks) {
  config.model.blocks = blocks;
  return config;
}

void extend(PlanReport& r, const PlanReport& more, const Line& at) {
  for (MemoryUsage PlanReport::*usage : {&PlanReport::memory, &PlanReport::encoding, &PlanReport::sampling})
    for (size_t i = 0; i < kNumMemoryUses; ++i)
      (r.*usage).bytes[i] = at((r.*usage).bytes[i], (more.*usage).bytes[i]);
  for (auto& [label, bytes] : r.kept) bytes = at(bytes, more.kept.at(label));
  for (auto& [op, seconds] : r.op_s) seconds = at(seconds, more.op_s.at(op));
  for (double PlanReport::*field :
       {&PlanReport::step_s, &PlanReport::forward_s, &PlanReport::recompute_s, &PlanReport::backward_s,
        &PlanReport::update_s, &PlanReport::copy_s, &PlanReport::exposed_s, &PlanReport::counted_clip_flops})
    r.*field = at(r.*field, more.*field);
  for (size_t i = 0; i < r.traffic.size(); ++i) {
    PlannedTraffic& t = r.traffic[i];
    const PlannedTraffic& other = more.traffic.at(i);
    t.calls = at(t.calls, other.calls);
    t.bytes = at(t.bytes, other.bytes);
    t.seconds = at(t.seconds, other.seconds);
  }
}

}  // namespace

PlanReport quick_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings) {
  const int64_t blocks = dit_config(config).num_blocks;
  if (blocks <= kMore || config.memory.policy == MemoryPolicy::automatic)
    return dry_run(config, node_of, ceilings);
  PlanReport report = dry_run(with_blocks(config, kFew), node_of, ceilings);
  extend(report, dry_run(with_blocks(config, kMore), node_of, ceilings), Line(blocks));
  report.config = config;
  finish(report, ceilings);
  return report;
}

}  // namespace orrery
