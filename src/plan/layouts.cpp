#include "plan/layouts.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <future>
#include <optional>

#include "base/error.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

// From the least recompute to the least memory.
constexpr MemoryPolicy kPolicies[] = {MemoryPolicy::none, MemoryPolicy::mm_only,
                                      MemoryPolicy::predict2_2b_720_aggressive, MemoryPolicy::full};
constexpr size_t kAutomatic = 1;       // layouts that are planned with memory.policy=auto
constexpr int kShards = 3;             // sizes of shard that are looked at once they fit
constexpr double kBytesPerWeight = 8;  // at least, of what is split: weight, gradient and moments in bfloat16

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

// Of one size of context.
class Search {
 public:
  Search(const Config& config, int64_t ranks, const Ceilings& ceilings, ClipsOf clips)
      : config_(config),
        clips_of_(clips),
        ranks_(ranks),
        ceilings_(ceilings),
        nodes_(nodes_of(ranks, ceilings)),
        weights_(static_cast<double>(DiT(dit_config(config)).num_parameters())) {}

  std::vector<PlanReport> run(int context) {
    const c10::InferenceMode inference;  // runs on a thread of its own
    shards(context);
    return std::move(found_);
  }

 private:
  void shards(int context) {
    int fitting = 0;
    for (const int shard : divisors(ranks_ / context)) {
      const int replicate = static_cast<int>(ranks_ / context / shard);
      if (clips_of_ == ClipsOf::groups) config_.train.batch = replicate * shard;
      if (config_.train.batch % (replicate * shard) != 0) continue;
      if (kBytesPerWeight * weights_ / (shard * context) > limit()) continue;
      if (micro_batches_of({replicate, shard, context}) && ++fitting == kShards) return;
    }
  }

  // Whether one fits. Other micro-batches than the first are worth it only if they save recompute.
  bool micro_batches_of(const MeshShape& mesh) {
    const int64_t clips = config_.train.batch / (mesh.replicate * mesh.shard);
    size_t end = std::size(kPolicies);
    for (const MicroBatch& micro : micro_batches(config_, clips)) end = first_fitting(mesh, micro, end);
    return end < std::size(kPolicies);
  }

  // Of the policies [0, end), by falling memory, the first that fits; end if none does.
  size_t first_fitting(const MeshShape& mesh, const MicroBatch& micro, size_t end) {
    std::optional<PlanReport> best;
    for (size_t begin = 0; begin < end;) {
      const size_t middle = (begin + end) / 2;
      PlanReport report = quick_run(with_layout(config_, mesh, kPolicies[middle], micro), nodes_, ceilings_);
      if (report.fits()) {
        best = std::move(report);
        end = middle;
      } else {
        begin = middle + 1;
      }
    }
    if (best) found_.push_back(std::move(*best));
    return end;
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

void sort(std::vector<PlanReport>& reports) {
  std::stable_sort(reports.begin(), reports.end(),
                   [](const auto& a, const auto& b) { return a.clips_per_s > b.clips_per_s; });
}

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
  std::vector<std::future<std::vector<PlanReport>>> searches;
  for (const int context : context_sizes(config, ranks, ceilings))
    searches.push_back(std::async(
        std::launch::async, [&, context] { return Search(config, ranks, ceilings, clips).run(context); }));
  std::vector<PlanReport> found;
  for (auto& search : searches)
    for (PlanReport& report : search.get()) found.push_back(std::move(report));
  sort(found);
  if (config.memory.policy != MemoryPolicy::automatic) return found;
  // The best ones again, with the least recompute that fits instead of a fixed policy.
  for (size_t i = 0; i < std::min(found.size(), kAutomatic); ++i) {
    found[i].config.memory.policy = MemoryPolicy::automatic;
    found[i] = dry_run(Config(found[i].config), nodes_of(ranks, ceilings), ceilings);
  }
  sort(found);
  return found;
}

}  // namespace orrery
