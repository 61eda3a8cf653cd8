#include "parity/options.h"

namespace orrery {

void require_known_options(const Case& c, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : c.config.items())
    require(std::find(known.begin(), known.end(), key) != known.end(), "config option ", key,
            " is not known to ", c.module);
}

NamedTensors wanted(const Case& c, NamedTensors results) {
  std::erase_if(results, [&](const auto& result) { return !c.wants(result.first); });
  return results;
}

}  // namespace orrery
