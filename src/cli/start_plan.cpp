#include "cli/start_plan.h"

#include <optional>

#include "cli/ranks_here.h"
#include "data/bucket.h"
#include "plan/auto_run.h"
#include "plan/layouts.h"
#include "plan/report.h"

namespace orrery::cli {
namespace {

constexpr size_t kRows = 4;  // layouts that would fit, in a refusal

[[noreturn]] void refuse(const PlanReport& plan, const Ceilings& ceilings, int64_t ranks) {
  const auto best = best_layouts(plan.config, ranks, ceilings, ClipsOf::batch);
  throw Error(text_of("the run ", one_line(plan), "\n\n", describe(plan, ceilings), "\n",
                      best.empty() ? "no layout of these ranks fits\n"
                                   : "layouts that fit\n" + table_of(best, kRows)),
              Exit::out_of_memory);
}

}  // namespace

std::vector<Config> steps_of(const Config& config) {
  std::vector<Config> steps;
  for (const FrameSize& size : bucket_sizes(config.data.height, config.data.width, config.data.buckets)) {
    Config c = config;
    c.data.height = size.height;
    c.data.width = size.width;
    steps.push_back(c);
    if (config.data.image_path.empty()) continue;
    c.data.frames = 1;
    c.parallel.shard *= c.parallel.context;
    c.parallel.context = 1;
    if (c.data.image_batch > 0) c.train.batch = c.data.image_batch;
    steps.push_back(c);
  }
  return steps;
}

TrainingStart plan_start(const Config& config, const World& world) {
  const auto ceilings = ceilings_here(config, world);
  const bool is_auto = config.memory.policy == MemoryPolicy::automatic;
  require(ceilings || !is_auto,
          "memory.policy=auto: the ceilings of this GPU are not known; choose a policy");
  if (!ceilings) return {};
  TrainingStart start;
  for (const Config& step : steps_of(config)) {
    AutoRun run = is_auto ? auto_run(step, nodes_of(world), *ceilings)
                          : AutoRun{quick_run(step, nodes_of(world), *ceilings), 0};
    if (!run.report.fits()) refuse(run.report, *ceilings, world.size());
    if (is_auto && (start.plan.empty() || run.budget_bytes < start.activation_budget_bytes))
      start.activation_budget_bytes = run.budget_bytes;
    if (run.report.fullest().total() <= start.planned.total()) continue;
    start.planned = run.report.fullest();
    start.plan = "plan " + one_line(run.report);
  }
  return start;
}

}  // namespace orrery::cli
