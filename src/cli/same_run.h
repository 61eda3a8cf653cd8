#pragma once
// Whether a run may go on from a checkpoint with these settings. Called by `orrery train`.
#include <string>

#include "base/config.h"

namespace orrery::cli {

// stored: the checkpoint's settings as INI. Settings that change what is learned (model, data, batch, seed,
// optimizer, flow ...) must be the same; those that say how it is computed, logged, sampled and saved may
// differ. Throws Error that names the first difference with both values.
void require_same_run(const std::string& stored, Config config);

}  // namespace orrery::cli
