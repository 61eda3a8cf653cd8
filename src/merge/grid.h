#pragma once
// Grids of merges to choose from by eye. Used by `orrery ckpt merge --grid`.
#include "merge/config.h"

namespace orrery {

struct GridPoint {
  std::string name;  // "ties_density0.2_lambda0.5": for the file
  MergeConfig config;
};

// soup: all weights out of 0, 0.1, 0.2, 0.3 and 0.5 that add up to 1, for the models and, if it is an
// ingredient, the base (named last). ties: density 0.2, 0.5, 0.8 by lambda 0.5, 0.8, 1, 1.2; dare: density
// 0.1, 0.3, 0.5, 0.9 by lambda 0.5, 0.8, 1; task_arithmetic: the lambdas of ties. What the grid does not vary
// stays as in config; Error where that sets what the grid varies, and for more than 16 ingredients of a soup.
std::vector<GridPoint> merge_grid(const MergeConfig& config, size_t models, bool base_is_ingredient);

}  // namespace orrery
