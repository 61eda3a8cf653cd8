#include "model/presets.h"

#include "base/error.h"

namespace orrery {
namespace {

// Small networks read short text embeddings directly and have their own, smaller ranks.
DiTConfig small(int64_t width, int64_t blocks, int64_t heads, int64_t rank) {
  DiTConfig c;
  c.model_channels = width;
  c.num_blocks = blocks;
  c.num_heads = heads;
  c.adaln_lora_dim = rank;
  c.crossattn_emb_channels = 64;
  c.use_crossattn_projection = false;
  c.rope_h_extrapolation_ratio = c.rope_w_extrapolation_ratio = 1;
  return c;
}

std::map<std::string, DiTConfig> table() {
  DiTConfig b14;
  b14.model_channels = 5120;
  b14.num_blocks = 36;
  b14.num_heads = 40;
  return {{"2b", DiTConfig{}}, {"14b", b14}, {"tiny", small(256, 4, 4, 64)}, {"nano", small(64, 2, 2, 16)}};
}

}  // namespace

DiTConfig dit_preset(const std::string& name) {
  const auto presets = table();
  const auto found = presets.find(name);
  std::string names;
  for (const std::string& known : dit_preset_names()) names += (names.empty() ? "" : ", ") + known;
  require(found != presets.end(), "model.preset: no preset '", name, "'; known are ", names);
  return found->second;
}

std::vector<std::string> dit_preset_names() {
  std::vector<std::string> names;
  for (const auto& [name, config] : table()) names.push_back(name);
  return names;
}

}  // namespace orrery
