#pragma once
#include <string>

namespace orrery {

std::string hdf5_version();  // of the library that is loaded: "1.10.8". Called by `orrery doctor`.

}  // namespace orrery
