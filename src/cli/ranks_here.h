#pragma once
// What the ranks of this run are and have, for the subcommands that run under mpirun.
#include <optional>
#include <vector>

#include "base/config.h"
#include "parallel/world.h"
#include "plan/ceilings.h"

namespace orrery::cli {

// Ranks of one node share its cores; without this every rank's OpenMP threads would spin on all of them.
// OMP_NUM_THREADS goes before.
void share_cores(const World& world);

// Ceilings of this machine, for one of the world's ranks; none for a GPU that is not known.
std::optional<Ceilings> ceilings_here(const Config& config, const World& world);

std::vector<int> nodes_of(const World& world);

}  // namespace orrery::cli
