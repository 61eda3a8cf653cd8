#include "plan/auto_run.h"

#include <optional>

#include "base/error.h"
#include "plan/planned_rank.h"
#include "train/recompute.h"

namespace orrery {
namespace {

constexpr int kTries = 4;

Config with_policy(Config config, MemoryPolicy policy) {
  config.memory.policy = policy;
  return config;
}

// Bytes of tensors that forward and backward leave free; fragmentation takes its share of them.
double slack(const PlanReport& r, const Ceilings& ceilings) {
  return (r.limit - r.reserved) / (1 + ceilings.fragmentation) - static_cast<double>(r.memory.total());
}

class Automatic {
 public:
  Automatic(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings)
      : config_(config),
        node_of_(node_of),
        ceilings_(ceilings),
        block_(PlannedRank(config, node_of, ceilings).trace_block()),
        num_blocks_(dit_config(config).num_blocks) {}

  // Blocks take the memory that full recompute leaves over and what it takes itself. What else is there when
  // memory is fullest depends on what they keep, so the budget follows what a dry run of the choice leaves.
  AutoRun run() {
    AutoRun least{dry_run(with_policy(config_, MemoryPolicy::full), node_of_, ceilings_)};
    least.report.config = config_;
    if (!least.report.fits()) return least;
    const RecomputeCost full = cost_under(block_, SavePolicy({}));
    const std::vector<KeptSet> sets = best_sets(block_);
    double budget =
        static_cast<double>(num_blocks_ * full.kept_bytes + full.work_bytes) + slack(least.report, ceilings_);
    least.budget_bytes = static_cast<int64_t>(budget);
    std::optional<AutoRun> best;
    for (int i = 0; i < kTries; ++i) {
      const auto tried = attempt(sets, static_cast<int64_t>(budget));
      if (!tried) break;
      if (tried->report.fits() && (!best || tried->report.step_s < best->report.step_s)) best = tried;
      const double left = slack(tried->report, ceilings_);
      if (left >= 0 && left < 0.01 * tried->report.limit) break;
      budget += left;
    }
    return best.value_or(least);
  }

 private:
  std::optional<AutoRun> attempt(const std::vector<KeptSet>& sets, int64_t budget) {
    try {
      const RecomputeChoice choice = choose_recompute(sets, num_blocks_, budget);
      PlannedRank rank(config_, node_of_, ceilings_);
      rank.attach(choice);
      AutoRun run{rank.run(), budget};
      run.report.recompute = describe(choice, block_);
      finish(run.report, ceilings_);
      return run;
    } catch (const Error& error) {
      if (error.code() == Exit::out_of_memory) return {};
      throw;
    }
  }

  const Config& config_;
  const std::vector<int>& node_of_;
  const Ceilings& ceilings_;
  const UnitTrace block_;
  const int64_t num_blocks_;
};

}  // namespace

AutoRun auto_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings) {
  require(config.memory.policy == MemoryPolicy::automatic, "plan: auto_run of another policy");
  return Automatic(config, node_of, ceilings).run();
}

}  // namespace orrery
