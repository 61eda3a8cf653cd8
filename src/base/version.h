#pragma once
// What this program was built from. Printed by `orrery version`, written into run folders and checkpoints.
// Defined in a file that the build writes (cmake/Version.cmake).
#include <string_view>

namespace orrery {

std::string_view version();           // "0.1.0"
std::string_view git_commit();        // "4d9beb3c0ffe"; "... with changes" from a changed tree; "unknown"
std::string_view build_type();        // "Release"
std::string_view libtorch_version();  // "2.11.0", whose headers it was compiled with

}  // namespace orrery
