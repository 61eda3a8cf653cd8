#pragma once
// The encoder of T5 v1.0 (Raffel et al. 2020), the text encoder of Cosmos-Predict2 and Cosmos-Policy. Axes: B
// prompts, S tokens, D width. Source: transformers' T5EncoderModel, which cosmos-predict2.5
// predict2/inference/get_t5_emb.py calls.
#include <nlohmann/json.hpp>

#include "model/lm_layers.h"

namespace orrery {

// Names of the released config.json; defaults of T5-11B.
struct T5Config {
  int64_t vocab_size = 32128, d_model = 1024, d_kv = 128, d_ff = 65536, num_layers = 24, num_heads = 128;
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
};

// Error, naming the key: absent, no such number, or a network that this is not (gated, as in v1.1 and FLAN).
T5Config t5_config(const nlohmann::json& config);

// Of a key at distance `offsets` = key's place - query's place, int64 of any shape: which row of the table of
// biases it takes. Half of the rows are for each side; near places have rows of their own, far ones share.
at::Tensor t5_buckets(const at::Tensor& offsets, const T5Config& config);

struct T5SelfAttention final : Module {
  T5SelfAttention(Module* parent, std::string name, const T5Config& c, bool has_bias_table);
  Linear q, k, v, o;
  std::unique_ptr<TokenTable> relative_attention_bias;  // of the first block, used by all
  int64_t num_heads;
  Variable operator()(const Variable& x_BSD, const Variable& bias) const;  // no mask, scores are not scaled
};

struct T5FeedForward final : Module {
  T5FeedForward(Module* parent, std::string name, const T5Config& c);
  Linear wi, wo;
  Variable operator()(const Variable& x_BSD) const;
};

struct T5Block final : Module {
  T5Block(Module* parent, std::string name, const T5Config& c, bool has_bias_table);
  T5SelfAttention attention;  // keys layer.0 and layer.1
  LmNorm attention_norm;
  T5FeedForward feed_forward;
  LmNorm feed_forward_norm;
  Variable operator()(const Variable& x_BSD, const Variable& bias) const;
};

struct T5Encoder final : Module {
  explicit T5Encoder(const T5Config& config);
  T5Config config;
  TokenTable shared;
  std::vector<std::unique_ptr<T5Block>> blocks;
  LmNorm final_layer_norm;

  // ids (B,S), int64, on the weights' device, none of them padding: (B,S,D).
  Variable operator()(const at::Tensor& ids_BS) const;

 private:
  Variable bias_of(int64_t tokens) const;  // (heads,S,S)
};

}  // namespace orrery
