#pragma once
// The training run: puts data, model and optimizer together from the settings, and loops: batch, step, log,
// sample, save.
#include <functional>
#include <string>

#include "base/config.h"
#include "base/error.h"
#include "base/memory.h"
#include "parallel/world.h"

namespace orrery {

// Runs (or resumes) training until train.steps. Collective over the world's ranks. Writes into train.run_dir:
// config.ini, run.json, metrics.jsonl, TensorBoard events, tokenizer.safetensors, checkpoints/, samples/,
// lock. Throws Error for settings or data that do not fit.
struct TrainingStart {
  std::string plan;     // one line for the log; empty: the run was not planned
  MemoryUsage planned;  // memory of a rank at its peak
  // memory.policy = auto: what blocks may keep for backward on this rank.
  int64_t activation_budget_bytes = 0;
  // Called on the first rank when model, data and checkpoint have been found good, before the first step; it
  // writes what describes the run (config.ini, run.json), so that a refused run does not overwrite an earlier
  // one's.
  std::function<void()> on_ready = [] {};
  // All settings as INI; they go into checkpoints.
  std::string settings = {};
  // Called with the settings of the checkpoint that is gone on from; throws Error if they are of another run.
  std::function<void(const std::string& stored)> require_same_run = [](const std::string&) {};
  // Asked between steps on every rank: where any says yes, the run saves a checkpoint and ends.
  std::function<bool()> stop_asked = [] { return false; };
};
// Exit::done, or Exit::stopped before train.steps.
Exit run_training(const Config& config, World& world, const TrainingStart& start);

}  // namespace orrery
