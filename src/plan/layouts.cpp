#include "plan/layouts.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

// From the least recompute to the least memory.
constexpr MemoryPolicy kPolicies[] = {MemoryPolicy::none, MemoryPolicy::mm_only,
                                      MemoryPolicy::predict2_2b_720_aggressive, MemoryPolicy::full};
constexpr size_t kAutomatic = 1;       // layouts that are planned with memory.policy=auto
constexpr int kShards = 4;             // sizes of shard that are looked at once they fit
constexpr double kBytesPerWeight = 4;  // at least, of what is split: the weight itself

std::vector<int> divisors(int64_t number) {
  std::vector<int> out;
  for (int64_t d = 1; d <= number; ++d)
    if (number % d == 0) out.push_back(static_cast<int>(d));
  return out;
}

std::vector<int> context_sizes(const Config& config, int64_t ranks, const Ceilings& ceilings) {
  const int64_t frames = 1 + (config.data.frames - 1) / 4, heads = dit_config(config).num_heads;
  std::vector<int> out;
  for (const int size : divisors(ranks))
    if (frames % size == 0 && heads >= size && size <= ceilings.ranks_per_node) out.push_back(size);
  return out;
}

std::vector<MicroBatch> micro_batches(const Config& config, int64_t clips) {
  const MicroBatch own{config.train.micro_batch, config.parallel.reduce_each_micro_batch};
  if (clips <= 1) return {own};
  const int64_t size = own.clips > 0 ? own.clips : 1;
  std::vector<MicroBatch> out = {own};
  for (const bool each : {false, true})
    if (size != own.clips || each != own.reduce_each) out.push_back({size, each});
  return out;
}

class Search {
 public:
  Search(const Config& config, int64_t ranks, const Ceilings& ceilings, ClipsOf clips)
      : config_(config),
        clips_of_(clips),
        ranks_(ranks),
        ceilings_(ceilings),
        nodes_(nodes_of(ranks, ceilings)),
        weights_(static_cast<double>(DiT(dit_config(config)).num_parameters())) {}

  std::vector<PlanReport> run() {
    for (const int context : context_sizes(config_, ranks_, ceilings_)) shards(context);
    sort();
    if (config_.memory.policy == MemoryPolicy::automatic) choose_kept();
    return std::move(found_);
  }

 private:
  void sort() {
    std::stable_sort(found_.begin(), found_.end(),
                     [](const auto& a, const auto& b) { return a.clips_per_s > b.clips_per_s; });
  }

  // The best ones again, with the least recompute that fits instead of a fixed policy.
  void choose_kept() {
    for (size_t i = 0; i < std::min(found_.size(), kAutomatic); ++i) {
      PlanReport& report = found_[i];
      report.config.memory.policy = MemoryPolicy::automatic;
      report = dry_run(Config(report.config), nodes_, ceilings_);
    }
    sort();
  }

  void shards(int context) {
    int fitting = 0;
    for (const int shard : divisors(ranks_ / context)) {
      const int replicate = static_cast<int>(ranks_ / context / shard);
      if (clips_of_ == ClipsOf::groups) config_.train.batch = replicate * shard;
      if (config_.train.batch % (replicate * shard) != 0) continue;
      if (kBytesPerWeight * weights_ / (shard * context) > limit()) continue;
      const int64_t clips = config_.train.batch / (replicate * shard);
      bool fits = false;
      for (const MicroBatch& micro : micro_batches(config_, clips))
        fits |= policies({replicate, shard, context}, micro);
      if (fits && ++fitting == kShards) return;
    }
  }

  // The first policy that fits; whether one does.
  bool policies(const MeshShape& mesh, const MicroBatch& micro) {
    const auto plan = [&](MemoryPolicy policy) {
      return quick_run(with_layout(config_, mesh, policy, micro), nodes_, ceilings_);
    };
    std::optional<PlanReport> least = plan(MemoryPolicy::full);
    if (!least->fits()) return false;
    for (const MemoryPolicy policy : kPolicies) {
      PlanReport report = policy == MemoryPolicy::full ? std::move(*least) : plan(policy);
      if (!report.fits()) continue;
      found_.push_back(std::move(report));
      return true;
    }
    return false;
  }

  double limit() const {
    const double gib = config_.memory.limit_gib > 0 ? config_.memory.limit_gib : ceilings_.memory_gib;
    return gib * (1 << 30);
  }

  Config config_;
  const ClipsOf clips_of_;
  const int64_t ranks_;
  const Ceilings& ceilings_;
  const std::vector<int> nodes_;
  const double weights_;
  std::vector<PlanReport> found_;
};

}  // namespace

Config with_layout(Config config, const MeshShape& mesh, MemoryPolicy policy, const MicroBatch& micro) {
  config.parallel.replicate = mesh.replicate;
  config.parallel.shard = mesh.shard;
  config.parallel.context = mesh.context;
  config.memory.policy = policy;
  config.train.micro_batch = micro.clips;
  config.parallel.reduce_each_micro_batch = micro.reduce_each;
  return config;
}

std::vector<PlanReport> best_layouts(const Config& config, int64_t ranks, const Ceilings& ceilings,
                                     ClipsOf clips) {
  require(ranks >= 1 && ranks <= 1 << 20, "plan: ", ranks, " ranks, wanted 1 to ", 1 << 20);
  return Search(config, ranks, ceilings, clips).run();
}

}  // namespace orrery
