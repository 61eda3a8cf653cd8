#pragma once
// Names and strings out of files that may be hostile, as error messages show them.
#include <string>
#include <string_view>

namespace orrery {

// In quotes, at most 120 characters, and none that a terminal would obey.
inline std::string printable(std::string_view name) {
  constexpr size_t kShown = 120;
  std::string out = "'";
  for (const char c : name.substr(0, kShown)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + (name.size() > kShown ? "...'" : "'");
}

}  // namespace orrery
