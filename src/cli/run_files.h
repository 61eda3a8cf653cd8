#pragma once
// What a run folder says about how it was made. Written by `orrery train` on the first rank before anything
// else.
#include <string>
#include <vector>

#include "base/config.h"

namespace orrery::cli {

// Makes run_dir. Throws Error if it cannot be written, or if it holds the steps of an earlier run and
// train.resume is never: no run overwrites another.
void open_run_folder(const TrainConfig& config);

// run_dir/config.ini: all settings; `orrery train run_dir/config.ini` runs the same again.
// run_dir/run.json: version, commit, libtorch, seed, ranks, host, started (UTC), arguments.
// Both appear complete or not at all; a resumed run replaces them.
void write_run_files(const Config& config, const std::vector<std::string>& arguments, int64_t ranks);

}  // namespace orrery::cli
