#pragma once
// The plan that train makes of itself before it starts: does it fit?
#include "parallel/world.h"
#include "train/trainer.h"

namespace orrery::cli {

// What steps a run has, one configuration each: films of each bucket's shape, and images. Context ranks share
// out the images of a batch, as ranks with clips of their own do.
std::vector<Config> steps_of(const Config& config);

// Plans this world's step for every shape that the data may have. Throws Error with Exit::out_of_memory, the
// plan and the layouts that would fit, if the largest does not. On a GPU whose ceilings are unknown nothing
// is planned; memory.policy=auto is then refused. All ranks get the same.
TrainingStart plan_start(const Config& config, const World& world);

}  // namespace orrery::cli
