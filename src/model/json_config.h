#pragma once
// Reading sizes from the config.json of a released network, which may hold anything.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace orrery {

// From 1 to 2^20, so that products of two do not overflow. Error, naming the key: absent, or something else.
int64_t json_size(const nlohmann::json& config, const std::string& key);
// Error: absent, or no number above 0.
double json_positive(const nlohmann::json& config, const std::string& key);
// Error unless the value is one of these; an absent one is the first.
void require_one_of(const nlohmann::json& config, const std::string& key,
                    const std::vector<nlohmann::json>& allowed);

}  // namespace orrery
