#pragma once
// The settings that released Cosmos-Predict2.5 weights were made for, under the reference's names for them.
// Read by the generate command. Source: cosmos-predict2.5, imaginaire/utils/checkpoint_db.py and the
// experiments it names.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery {

struct ReleasedModel {
  std::string_view name;                                                // "2B/post-trained"
  std::vector<std::pair<std::string_view, std::string_view>> settings;  // "model.preset", "2b"
};

// Throws Error that lists the known names.
const ReleasedModel& released_model(std::string_view name);
std::string released_model_names();  // with commas between

}  // namespace orrery
