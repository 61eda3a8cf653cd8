#pragma once
// Error and require(): every refusal of bad input, configuration or files. main() catches, prints with the
// rank, ends all ranks and exits with the error's code. assert() is for mistakes of our own.
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

namespace orrery {

// Exit codes of the program. Scripts rely on them; README lists them.
enum class Exit : int {
  done = 0,
  failure = 1,
  bad_input = 2,
  bad_data = 3,
  out_of_memory = 4,
  peer_lost = 5,
  stopped = 6  // asked to, and saved what it had
};

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, Exit code = Exit::bad_input,
                 std::source_location where = std::source_location::current())
      : std::runtime_error(message), code_(code), where_(where) {}
  Exit code() const { return code_; }
  const std::source_location& where() const { return where_; }

 private:
  Exit code_;
  std::source_location where_;
};

// Streams all parts into one string.
template <class... Parts>
std::string text_of(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// Throws Error unless the condition holds. Parts: what, which, got, wanted, likely cause.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw Error(text_of(parts...));
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(text_of(parts...));
}

}  // namespace orrery
