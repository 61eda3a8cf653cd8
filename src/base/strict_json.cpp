#include "base/strict_json.h"

#include <unordered_set>

#include "base/error.h"
#include "base/printable.h"

namespace orrery {

nlohmann::json parse_strict_json(std::string_view text, int max_depth) {
  using nlohmann::json;
  std::vector<std::unordered_set<std::string>> keys(static_cast<size_t>(max_depth) + 1);
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    require(depth < max_depth, "nested too deeply");
    auto& seen = keys[static_cast<size_t>(depth)];
    if (event == json::parse_event_t::object_start) keys[static_cast<size_t>(depth) + 1].clear();
    if (event == json::parse_event_t::key)
      require(seen.insert(value.get<std::string>()).second, "duplicate key ",
              printable(value.get<std::string>()));
    return true;
  };
  json value = json::parse(text, check, /*allow_exceptions=*/false);
  require(!value.is_discarded(), "is not JSON");
  return value;
}

}  // namespace orrery
