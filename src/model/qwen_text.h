#pragma once
// The language model of Qwen2.5 and Qwen2.5-VL, as far as its hidden states: embedding, decoder layers, last
// norm. The Reason1 text encoder is one; vision towers put their tokens in before the layers. Axes: B
// prompts, S tokens, D width. Source: cosmos-predict2.5 reason1/networks/qwen2_5_vl.py, equal to
// transformers' Qwen2.
#include <nlohmann/json.hpp>

#include "model/lm_layers.h"

namespace orrery {

// Names of the released config.json; defaults of Qwen2.5-VL-7B, which is Cosmos-Reason1-7B.
struct QwenTextConfig {
  int64_t vocab_size = 152064, hidden_size = 3584, intermediate_size = 18944, num_hidden_layers = 28;
  int64_t num_attention_heads = 28, num_key_value_heads = 4;  // consecutive query heads share a key head
  double rms_norm_eps = 1e-6, rope_theta = 1e6;
  int64_t max_position_embeddings = 128000;
  int64_t head_dim() const { return hidden_size / num_attention_heads; }
};

// The language part of a config.json: its keys at the top or under text_config. Error, naming the key:
// absent, no such number, sizes that do not fit together, or a network that this is not (activation, sliding
// window, scaled rotary positions, another model_type).
QwenTextConfig qwen_text_config(const nlohmann::json& config);

// What all layers are told of the tokens' places.
struct QwenPlaces {
  Variable cos,
      sin;  // (S,1,head_dim) of token s's rotary angles, in the model's type: the reference rounds them
  Variable causal;  // (1,S,S) ops/biased_attention.h
};

struct QwenAttention final : Module {
  QwenAttention(Module* parent, std::string name, const QwenTextConfig& c);
  Linear q_proj, k_proj, v_proj, o_proj;
  int64_t head_dim;
  Variable operator()(const Variable& x_BSD, const QwenPlaces& places) const;
};

struct QwenMlp final : Module {
  QwenMlp(Module* parent, std::string name, const QwenTextConfig& c);
  Linear gate_proj, up_proj, down_proj;
  Variable operator()(const Variable& x_BSD) const;
};

struct QwenLayer final : Module {
  QwenLayer(Module* parent, std::string name, const QwenTextConfig& c);
  LmNorm input_layernorm;
  QwenAttention self_attn;
  LmNorm post_attention_layernorm;
  QwenMlp mlp;
  Variable operator()(const Variable& x_BSD, const QwenPlaces& places) const;
};

struct QwenText final : Module {
  // name: where the checkpoint has it, "model" or "model.language_model".
  QwenText(Module* parent, std::string name, const QwenTextConfig& config);
  QwenTextConfig config;
  TokenTable embed_tokens;
  std::vector<std::unique_ptr<QwenLayer>> layers;
  LmNorm norm;

  // ids (B,S), int64, on the weights' device. Causal, no other mask, positions 0 to S - 1. Returns
  // num_hidden_layers + 1 of (B,S,D): the embedding, each layer's output, and in the last one's place its
  // norm.
  Variables hidden_states(const at::Tensor& ids_BS) const;
};

}  // namespace orrery
