#pragma once
// Numbers and words in columns of text. Used by reports.
#include <iomanip>
#include <sstream>
#include <string>

namespace orrery {

inline std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}
// Filled up to a width with blanks, with at least one; longer texts stay whole.
inline std::string left(const std::string& text, size_t width) {
  return text + std::string(width > text.size() ? width - text.size() : 1, ' ');
}
inline std::string right(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 1, ' ') + text;
}

}  // namespace orrery
