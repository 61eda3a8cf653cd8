#pragma once
// JSON that remembers where its keys stand, so that a wrong value is reported with its line, and in which a
// key must not come twice. Read by requests.h.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

struct JsonMember;

struct LinedJson {
  LinedJson(nlohmann::json value = nullptr, int64_t line = 0);  // a scalar where no text is known

  nlohmann::json value;             // a scalar; of an object or a list only which of them it is: {} or []
  int64_t line;                     // of its key; of the outermost value: the first line
  std::vector<JsonMember> members;  // of an object, in the file's order
  bool is_object() const { return value.is_object(); }
};
struct JsonMember {
  std::string key;
  LinedJson value;
};

// What is wrong with the text, and in which line.
struct JsonProblem {
  int64_t line = 0;
  std::string what;
};

// At most 60 bytes of a text for a message, and "..." where it goes on; UTF-8 is not cut in a character.
std::string shortened(std::string text);

// first_line: number of the text's first line. Throws JsonProblem: not JSON, text behind it, a key that comes
// twice in its object, or nested deeper than 16.
LinedJson parse_lined_json(std::string_view text, int64_t first_line);

}  // namespace orrery
