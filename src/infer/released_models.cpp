#include "infer/released_models.h"

#include <algorithm>

#include "base/error.h"

namespace orrery {
namespace {

using Values = std::vector<std::pair<std::string_view, std::string_view>>;

// Of all: clips of 93 x 704 x 1280, linear noise levels shifted by 5, given frames with the clip's time. The
// files hold averages under the plain names.
ReleasedModel released(std::string_view name, std::string_view preset, const Values& more) {
  Values settings = {{"model.preset", preset},
                     {"tokenizer.kind", "wan"},
                     {"text.kind", "reason1"},
                     {"numerics.dtype", "bfloat16"},
                     {"sample.weights", "model"}};
  settings.insert(settings.end(), more.begin(), more.end());
  return {name, settings};
}

// The post-trained 2B model is a merge that was tuned by reinforcement learning with Karras levels.
const std::vector<ReleasedModel>& table() {
  static const std::vector<ReleasedModel> models = {
      released("2B/pre-trained", "2b", {}),
      released("2B/post-trained", "2b", {{"flow.condition_timestep", "0.1"}, {"sample.sigmas", "karras"}}),
      released("14B/pre-trained", "14b", {}),
      released("14B/post-trained", "14b", {}),
  };
  return models;
}

}  // namespace

std::string released_model_names() {
  std::string names;
  for (const ReleasedModel& model : table()) names += (names.empty() ? "" : ", ") + std::string(model.name);
  return names;
}

const ReleasedModel& released_model(std::string_view name) {
  const auto found =
      std::find_if(table().begin(), table().end(), [&](const auto& m) { return m.name == name; });
  require(found != table().end(), "model: no released model \"", name, "\", known are ",
          released_model_names());
  return *found;
}

}  // namespace orrery
