#pragma once
// orrery generate -i: the films of samples in files, with a gallery. Called by the subcommand.
#include "cli/generate_options.h"
#include "parallel/world.h"

namespace orrery::cli {

// Collective over the world. Everything that can be found wrong beforehand is, before weights are loaded.
// Exit::failure if a film failed.
Exit generate_films(const GenerateOptions& options, Config& config, World& world);

}  // namespace orrery::cli
