#include "infer/released_models.h"

#include <algorithm>

#include "base/error.h"

namespace orrery {
namespace {

// Of all: clips of 93 x 704 x 1280, linear noise levels shifted by 5, given frames with the clip's time.
// The post-trained 2B model is a merge that was tuned by reinforcement learning with Karras levels.
const std::vector<ReleasedModel>& table() {
  static const std::vector<ReleasedModel> models = {
      {"2B/pre-trained", {{"model.preset", "2b"}, {"tokenizer.kind", "wan"}, {"numerics.dtype", "bfloat16"}}},
      {"2B/post-trained",
       {{"model.preset", "2b"},
        {"tokenizer.kind", "wan"},
        {"numerics.dtype", "bfloat16"},
        {"flow.condition_timestep", "0.1"},
        {"sample.sigmas", "karras"}}},
      {"14B/pre-trained",
       {{"model.preset", "14b"}, {"tokenizer.kind", "wan"}, {"numerics.dtype", "bfloat16"}}},
      {"14B/post-trained",
       {{"model.preset", "14b"}, {"tokenizer.kind", "wan"}, {"numerics.dtype", "bfloat16"}}},
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
