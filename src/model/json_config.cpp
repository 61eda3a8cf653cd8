#include "model/json_config.h"

#include "base/error.h"
#include "base/printable.h"

namespace orrery {
namespace {

constexpr uint64_t kMaxSize = uint64_t{1} << 20;

}  // namespace

int64_t json_size(const nlohmann::json& config, const std::string& key) {
  require(config.contains(key), "config has no ", key);
  const nlohmann::json& value = config[key];
  const bool fits =
      value.is_number_unsigned() && value.get<uint64_t>() >= 1 && value.get<uint64_t>() <= kMaxSize;
  require(fits, "config: ", key, " is ", printable(value.dump()), ", wanted a whole number from 1 to ",
          kMaxSize);
  return static_cast<int64_t>(value.get<uint64_t>());
}

double json_positive(const nlohmann::json& config, const std::string& key) {
  require(config.contains(key), "config has no ", key);
  const nlohmann::json& value = config[key];
  require(value.is_number() && value.get<double>() > 0, "config: ", key, " is ", printable(value.dump()),
          ", wanted a number above 0");
  return value.get<double>();
}

void require_one_of(const nlohmann::json& config, const std::string& key,
                    const std::vector<nlohmann::json>& allowed) {
  const nlohmann::json value = config.value(key, allowed.front());
  require(std::find(allowed.begin(), allowed.end(), value) != allowed.end(), "config: ", key, " is ",
          printable(value.dump()), ", which this network is not");
}

}  // namespace orrery
