#pragma once
// The little of Unicode that tokenizers need (ICU).
#include <string>
#include <string_view>

namespace orrery {

bool is_valid_utf8(std::string_view text);
bool is_ascii(std::string_view text);
// Normalisation Form C of UTF-8.
std::string to_nfc(std::string_view text);

}  // namespace orrery
