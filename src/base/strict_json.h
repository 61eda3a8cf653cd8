#pragma once
// JSON out of files that may be hostile. Used by the readers of tokenizers and of weight indexes.
#include <nlohmann/json.hpp>
#include <string_view>

namespace orrery {

// The value of the whole text. Error: not JSON, or what the parser would take in silence: a key twice in one
// object, nesting below `max_depth` levels.
nlohmann::json parse_strict_json(std::string_view text, int max_depth);

}  // namespace orrery
