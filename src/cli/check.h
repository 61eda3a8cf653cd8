#pragma once
// What values of several settings must satisfy together, checked before anything is loaded. Later stages add
// their rows to the two tables of check.cpp.
#include "base/config.h"

namespace orrery::cli {

// For training. Throws Error that names the key, its value and what is wanted: for combinations that cannot
// work, and for a setting that was moved from its default but has no effect with the others as they are.
void check_config(const Config& config);

}  // namespace orrery::cli
