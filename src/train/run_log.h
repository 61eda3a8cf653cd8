#pragma once
// RunLog: everything a run leaves for people in its folder, and the progress bar. Called by the trainer on
// every rank; only the first rank writes.
//   metrics.jsonl          a line for every logged step
//   events.out.tfevents.*  the same numbers and the pictures, for TensorBoard
//   samples/step_00000100/ pictures (.png) and films (.mp4)
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <iosfwd>
#include <memory>
#include <string>

#include "base/config.h"
#include "base/metrics_log.h"
#include "base/progress.h"
#include "train/event_file.h"

namespace orrery {

// What a logged step reports. more: further names behind these, in the same order on every step.
struct StepReport {
  double loss = 0, lr = 0, grad_norm = 0, step_ms = 0;
  Metrics more = {};
};

// Makes the folder. Throws Error if it cannot be written, or if it holds the steps of an earlier run and
// train.resume is never: no run overwrites another.
void prepare_run_folder(const TrainConfig& config);

struct RunLogOptions {
  bool writes = true;           // false on all ranks but the first: calls do nothing
  int64_t steps_done = 0;       // by the checkpoint that the run goes on from; later records are dropped
  std::ostream* out = nullptr;  // for the bar; null: standard output and its terminal
};

class RunLog {
 public:
  RunLog(const TrainConfig& config, const RunLogOptions& options);

  void tick(int64_t step);                             // after every step: moves the bar, reads no numbers
  void log(int64_t step, const StepReport& report);    // after a logged step
  void note(const std::string& line);                  // a line above the bar
  void scalars(int64_t step, const Metrics& metrics);  // TensorBoard alone: evaluation

  // image: uint8 [H,W,3] RGB to samples/step_.../NAME.png and TensorBoard; frames: uint8 [F,H,W,3] RGB to
  // samples/step_.../NAME.mp4. Names are file names.
  void image(int64_t step, const std::string& name, const at::Tensor& image);
  void film(int64_t step, const std::string& name, const at::Tensor& frames, int64_t fps);

 private:
  std::filesystem::path sample_path(int64_t step, const std::string& file) const;

  struct Sinks {
    MetricsLog metrics;
    EventFile events;
    Progress progress;
    std::string detail;
  };
  std::filesystem::path folder_;
  std::unique_ptr<Sinks> sinks_;  // null: this rank does not write
};

}  // namespace orrery
