#pragma once
// RunLog: what a person sees of a run: the progress bar, metrics.jsonl, TensorBoard events, and lines about
// samples and bad files. Only the first rank writes; the others' calls do nothing.
#include <set>

#include "base/config.h"
#include "base/metrics_log.h"
#include "base/progress.h"
#include "data/loader.h"
#include "parallel/world.h"
#include "train/checkpoint_saver.h"
#include "train/evaluate.h"
#include "train/event_file.h"
#include "train/step.h"

namespace orrery {

class RunLog {
 public:
  // steps_done > 0: a resumed run; lines of later steps are dropped from metrics.jsonl.
  RunLog(const Config& config, const World& world, int64_t steps_done);

  void note(const std::string& line);
  // After each step; writes every train.log_every-th one and the last, with these further figures.
  void step(int64_t done, const StepResult& result, double step_ms, const Metrics& more = {});
  // The end of a save: a line, and checkpoint.* in the metrics of its step.
  void checkpoint(const SaveReport& report);
  // Samples of this step, written into folder.
  void evaluation(int64_t done, const Evaluation& evaluation, const std::filesystem::path& folder);
  // The last word of a run: prints the figures and writes summary.json.
  void summary(const Evaluation& evaluation, double train_seconds, const std::filesystem::path& folder);

 private:
  const Config& config_;
  struct Outputs {
    MetricsLog metrics;
    EventFile events;
    Progress progress;
  };
  std::unique_ptr<Outputs> out_;  // null on other ranks
};

}  // namespace orrery
