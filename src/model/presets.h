#pragma once
// Named model sizes.
#include <string>
#include <vector>

#include "model/dit.h"

namespace orrery {

// "2b", "14b": the released Cosmos-Predict2.5 sizes; "tiny": 4 blocks of width 256 for two CPU cores; "nano":
// 2 blocks of width 64 for tests. Throws Error with the list for any other name.
DiTConfig dit_preset(const std::string& name);
std::vector<std::string> dit_preset_names();

}  // namespace orrery
