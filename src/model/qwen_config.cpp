// The language part of a released config.json.
#include "base/error.h"
#include "model/json_config.h"
#include "model/qwen_text.h"

namespace orrery {
namespace {

using nlohmann::json;

// rope_theta stands alone or, in newer files, in rope_parameters.
double theta_of(const json& config) {
  const json parameters = config.value("rope_parameters", json());
  return json_positive(parameters.is_object() && parameters.contains("rope_theta") ? parameters : config,
                       "rope_theta");
}

void check_kind(const json& config) {
  require_one_of(config, "model_type", {"qwen2_5_vl", "qwen2_5_vl_text", "qwen2"});
  require_one_of(config, "hidden_act", {"silu"});
  require_one_of(config, "use_sliding_window", {false});
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json scaling = config.value(key, json());
    if (scaling.is_null()) continue;
    require(scaling.is_object(), "config: ", key, " is no object");
    for (const char* type : {"type", "rope_type"}) require_one_of(scaling, type, {"default", "mrope"});
  }
}

}  // namespace

QwenTextConfig qwen_text_config(const json& whole) {
  require(whole.is_object(), "config is no object");
  const json& config = whole.contains("text_config") ? whole["text_config"] : whole;
  require(config.is_object(), "config: text_config is no object");
  check_kind(config);
  const QwenTextConfig c = {.vocab_size = json_size(config, "vocab_size"),
                            .hidden_size = json_size(config, "hidden_size"),
                            .intermediate_size = json_size(config, "intermediate_size"),
                            .num_hidden_layers = json_size(config, "num_hidden_layers"),
                            .num_attention_heads = json_size(config, "num_attention_heads"),
                            .num_key_value_heads = json_size(config, "num_key_value_heads"),
                            .rms_norm_eps = json_positive(config, "rms_norm_eps"),
                            .rope_theta = theta_of(config),
                            .max_position_embeddings = json_size(config, "max_position_embeddings")};
  require(c.num_hidden_layers <= 1024, "config: ", c.num_hidden_layers, " layers, at most 1024");
  require(c.hidden_size % c.num_attention_heads == 0 && c.head_dim() % 2 == 0 &&
              c.num_attention_heads % c.num_key_value_heads == 0,
          "config: hidden_size ", c.hidden_size, ", ", c.num_attention_heads, " heads and ",
          c.num_key_value_heads, " key heads do not fit together");
  return c;
}

}  // namespace orrery
