#pragma once
// Checkpoints of a run: run_dir/checkpoints/step_000001000/ with model.safetensors (net.*, and
// net_ema.* where averages are kept), optimizer.safetensors, tokenizer.safetensors and
// state.json (step, seed). A folder appears
// complete or not at all.
#include <filesystem>
#include <optional>

#include "infer/world_model.h"
#include "train/step.h"

namespace orrery {

// What a run goes on from.
struct RunState {
  DiT& net;
  Fsdp& fsdp;
  TrainStep& step;
  const LinearTokenizer& tokenizer;
};

// The state after `steps_done` optimizer steps; removes all but the newest `keep` (0: none removed).
// Collective; the first rank alone writes, and holds the whole model in host memory meanwhile.
void save_checkpoint(const Config& config, const RunState& run, int64_t steps_done, bool is_first);

// A run that starts at steps_done takes its folder over: later checkpoints, of another branch, are renamed to
// superseded_step_..., so that they are neither resumed from nor counted. One rank.
void supersede_checkpoints(const Config& config, int64_t steps_done);

// train.resume: "auto" is the newest complete checkpoint of run_dir, if there is one; "never" none; else a
// folder.
std::optional<std::filesystem::path> checkpoint_to_resume(const Config& config);

// Restores weights, averages and optimizer, each rank its own rows; returns the steps done. Throws Error
// where file and run do not match.
int64_t load_checkpoint(const std::filesystem::path& folder, const Config& config, const RunState& run);

// The newest complete checkpoint of a run folder. Throws Error if there is none.
std::filesystem::path newest_checkpoint(const std::filesystem::path& run_dir);

}  // namespace orrery
