#pragma once
// Caption files of films. Called by video_folder.
#include <filesystem>
#include <string>
#include <string_view>

namespace orrery {

// The file's text without surrounding white space. Throws Error that names the file if it is missing, larger
// than 1 MiB or not UTF-8.
std::string read_caption(const std::filesystem::path& path);

// Whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

}  // namespace orrery
