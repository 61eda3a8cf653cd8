#pragma once
// The training run: puts data, model and optimizer together from the settings, and loops: batch, step, log,
// sample, save.
#include "base/config.h"
#include "parallel/world.h"

namespace orrery {

// Runs (or resumes) training until train.steps. Collective over the world's ranks. Writes into train.run_dir:
// config.ini, run.json, metrics.jsonl, TensorBoard events, tokenizer.safetensors, checkpoints/, samples/.
// Throws Error for settings or data that do not fit.
void run_training(const Config& config, World& world);

}  // namespace orrery
