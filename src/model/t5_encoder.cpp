#include "model/t5_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "base/error.h"
#include "model/json_config.h"
#include "ops/activation.h"
#include "ops/biased_attention.h"
#include "ops/elementwise.h"
#include "ops/numeric.h"
#include "ops/shape.h"

namespace orrery {

T5Config t5_config(const nlohmann::json& config) {
  require(config.is_object(), "config is no object");
  require_one_of(config, "model_type", {"t5"});
  require_one_of(config, "feed_forward_proj", {"relu"});
  const T5Config released;
  const auto size_or = [&](const std::string& key, int64_t otherwise) {  // older files leave it out
    return config.contains(key) ? json_size(config, key) : otherwise;
  };
  const T5Config c = {.vocab_size = json_size(config, "vocab_size"),
                      .d_model = json_size(config, "d_model"),
                      .d_kv = json_size(config, "d_kv"),
                      .d_ff = json_size(config, "d_ff"),
                      .num_layers = json_size(config, "num_layers"),
                      .num_heads = json_size(config, "num_heads"),
                      .relative_attention_num_buckets = json_size(config, "relative_attention_num_buckets"),
                      .relative_attention_max_distance = size_or("relative_attention_max_distance",
                                                                 released.relative_attention_max_distance),
                      .layer_norm_epsilon = json_positive(config, "layer_norm_epsilon")};
  require(c.num_layers <= 1024, "config: ", c.num_layers, " layers, at most 1024");
  require(c.relative_attention_num_buckets % 4 == 0 &&
              c.relative_attention_max_distance > c.relative_attention_num_buckets / 4,
          "config: ", c.relative_attention_num_buckets, " buckets for distances up to ",
          c.relative_attention_max_distance, ", wanted a multiple of 4, and more than a quarter of it");
  return c;
}

at::Tensor t5_buckets(const at::Tensor& offsets, const T5Config& c) {
  if (offsets.is_meta()) return at::empty_like(offsets);  // ATen has not all of it for meta tensors
  const int64_t side = c.relative_attention_num_buckets / 2, exact = side / 2;
  const at::Tensor distance = offsets.abs();
  const double range =
      std::log(static_cast<double>(c.relative_attention_max_distance) / static_cast<double>(exact));
  // In float32 as the reference, whose rounding decides at the borders of buckets.
  const at::Tensor far =
      (at::log(distance.clamp_min(exact).to(at::kFloat) / exact) / range * (side - exact)).to(at::kLong) +
      exact;
  return at::where(distance.lt(exact), distance, far.clamp_max(side - 1)) +
         offsets.gt(0).to(at::kLong) * side;
}

T5SelfAttention::T5SelfAttention(Module* parent, std::string name, const T5Config& c, bool has_bias_table)
    : Module(parent, std::move(name)),
      q(this, "q", c.d_model, c.num_heads * c.d_kv, lm_init()),
      k(this, "k", c.d_model, c.num_heads * c.d_kv, lm_init()),
      v(this, "v", c.d_model, c.num_heads * c.d_kv, lm_init()),
      o(this, "o", c.num_heads * c.d_kv, c.d_model, lm_init()),
      num_heads(c.num_heads) {
  if (has_bias_table)
    relative_attention_bias = std::make_unique<TokenTable>(this, "relative_attention_bias",
                                                           c.relative_attention_num_buckets, c.num_heads);
}

Variable T5SelfAttention::operator()(const Variable& x_BSD, const Variable& bias) const {
  const Scope scope(*this);
  const auto heads = [&](const Variable& x) {
    return ops::reshape(x, {x.size(0), x.size(1), num_heads, -1});
  };
  const Variable out_BSND = ops::biased_attention(heads(q(x_BSD)), heads(k(x_BSD)), heads(v(x_BSD)), bias, 1);
  return o(ops::reshape(out_BSND, {x_BSD.size(0), x_BSD.size(1), -1}));
}

T5FeedForward::T5FeedForward(Module* parent, std::string name, const T5Config& c)
    : Module(parent, std::move(name)),
      wi(this, "wi", c.d_model, c.d_ff, lm_init()),
      wo(this, "wo", c.d_ff, c.d_model, lm_init()) {}

Variable T5FeedForward::operator()(const Variable& x_BSD) const {
  const Scope scope(*this);
  return wo(ops::relu(wi(x_BSD)));
}

T5Block::T5Block(Module* parent, std::string name, const T5Config& c, bool has_bias_table)
    : Module(parent, std::move(name)),
      attention(this, "layer.0.SelfAttention", c, has_bias_table),
      attention_norm(this, "layer.0.layer_norm", c.d_model, c.layer_norm_epsilon),
      feed_forward(this, "layer.1.DenseReluDense", c),
      feed_forward_norm(this, "layer.1.layer_norm", c.d_model, c.layer_norm_epsilon) {}

Variable T5Block::operator()(const Variable& x_BSD, const Variable& bias) const {
  const Scope scope(*this);
  const Variable h_BSD = ops::add(x_BSD, attention(attention_norm(x_BSD), bias));
  return scope.result(ops::add(h_BSD, feed_forward(feed_forward_norm(h_BSD))));
}

T5Encoder::T5Encoder(const T5Config& c)
    : config(c),
      shared(this, "shared", c.vocab_size, c.d_model),
      final_layer_norm(this, "encoder.final_layer_norm", c.d_model, c.layer_norm_epsilon) {
  for (int64_t i = 0; i < c.num_layers; ++i)
    blocks.push_back(std::make_unique<T5Block>(this, text_of("encoder.block.", i), c, i == 0));
}

Variable T5Encoder::bias_of(int64_t tokens) const {
  const TokenTable& table = *blocks.front()->attention.relative_attention_bias;
  const at::Tensor place = at::arange(tokens, at::device(table.weight.value().device()).dtype(at::kLong));
  const Variable bias_SSN = table(t5_buckets(place.unsqueeze(0) - place.unsqueeze(1), config));
  const Variable bias_NSS = ops::rearrange(bias_SSN, bias_SSN.shape(), {2, 0, 1}, {-1, tokens, tokens});
  return ops::cast(bias_NSS, acc_type(bias_NSS.dtype()));
}

Variable T5Encoder::operator()(const at::Tensor& ids_BS) const {
  const Scope scope(*this);
  require(ids_BS.dim() == 2 && ids_BS.size(1) >= 1, "token ids of shape ", ids_BS.sizes(), ", wanted (B,S)");
  Variable x_BSD = shared(ids_BS);
  const Variable bias = bias_of(ids_BS.size(1));
  for (const auto& block : blocks) x_BSD = (*block)(x_BSD, bias);
  return final_layer_norm(x_BSD);
}

}  // namespace orrery
