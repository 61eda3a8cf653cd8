#include "model/qwen_text.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>

#include <cmath>

#include "base/error.h"
#include "ops/activation.h"
#include "ops/biased_attention.h"
#include "ops/elementwise.h"
#include "ops/numeric.h"
#include "ops/shape.h"

namespace orrery {
namespace {

QwenPlaces places_of(const QwenTextConfig& c, int64_t tokens, const at::TensorOptions& options) {
  const at::TensorOptions single = options.dtype(at::kFloat);
  const at::Tensor exponent = at::arange(0, c.head_dim(), 2, single) / c.head_dim();
  const at::Tensor angles =
      at::outer(at::arange(tokens, single), at::pow(c.rope_theta, exponent).reciprocal());
  const at::Tensor both = at::cat({angles, angles}, -1).unsqueeze(1);
  return {Variable(both.cos().to(options)), Variable(both.sin().to(options)),
          Variable(
              ops::causal_bias(tokens, options.dtype(acc_type(c10::typeMetaToScalarType(options.dtype())))))};
}

// x cos + (-b, a) sin for x = (a, b): every product and the sum round.
Variable rotate(const Variable& x_BSND, const QwenPlaces& places) {
  const Variables half = ops::chunk(x_BSND, 2, -1);
  const Variable turned = ops::concat({ops::scale(half[1], -1), half[0]}, -1);
  return ops::add(ops::mul(x_BSND, places.cos), ops::mul(turned, places.sin));
}

}  // namespace

QwenAttention::QwenAttention(Module* parent, std::string name, const QwenTextConfig& c)
    : Module(parent, std::move(name)),
      q_proj(this, "q_proj", c.hidden_size, c.num_attention_heads * c.head_dim(), lm_init(), true),
      k_proj(this, "k_proj", c.hidden_size, c.num_key_value_heads * c.head_dim(), lm_init(), true),
      v_proj(this, "v_proj", c.hidden_size, c.num_key_value_heads * c.head_dim(), lm_init(), true),
      o_proj(this, "o_proj", c.num_attention_heads * c.head_dim(), c.hidden_size, lm_init()),
      head_dim(c.head_dim()) {}

Variable QwenAttention::operator()(const Variable& x_BSD, const QwenPlaces& places) const {
  const Scope scope(*this);
  const auto heads = [&](const Variable& x) { return ops::reshape(x, {x.size(0), x.size(1), -1, head_dim}); };
  const Variable out_BSND = ops::biased_attention(
      rotate(heads(q_proj(x_BSD)), places), rotate(heads(k_proj(x_BSD)), places), heads(v_proj(x_BSD)),
      places.causal, 1 / std::sqrt(static_cast<double>(head_dim)));
  return o_proj(ops::reshape(out_BSND, {x_BSD.size(0), x_BSD.size(1), -1}));
}

QwenMlp::QwenMlp(Module* parent, std::string name, const QwenTextConfig& c)
    : Module(parent, std::move(name)),
      gate_proj(this, "gate_proj", c.hidden_size, c.intermediate_size, lm_init()),
      up_proj(this, "up_proj", c.hidden_size, c.intermediate_size, lm_init()),
      down_proj(this, "down_proj", c.intermediate_size, c.hidden_size, lm_init()) {}

Variable QwenMlp::operator()(const Variable& x_BSD) const {
  const Scope scope(*this);
  return down_proj(ops::mul(ops::silu(gate_proj(x_BSD)), up_proj(x_BSD)));
}

QwenLayer::QwenLayer(Module* parent, std::string name, const QwenTextConfig& c)
    : Module(parent, std::move(name)),
      input_layernorm(this, "input_layernorm", c.hidden_size, c.rms_norm_eps),
      self_attn(this, "self_attn", c),
      post_attention_layernorm(this, "post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
      mlp(this, "mlp", c) {}

Variable QwenLayer::operator()(const Variable& x_BSD, const QwenPlaces& places) const {
  const Scope scope(*this);
  const Variable h_BSD = ops::add(x_BSD, self_attn(input_layernorm(x_BSD), places));
  return scope.result(ops::add(h_BSD, mlp(post_attention_layernorm(h_BSD))));
}

QwenText::QwenText(Module* parent, std::string name, const QwenTextConfig& c)
    : Module(parent, std::move(name)),
      config(c),
      embed_tokens(this, "embed_tokens", c.vocab_size, c.hidden_size),
      norm(this, "norm", c.hidden_size, c.rms_norm_eps) {
  for (int64_t i = 0; i < c.num_hidden_layers; ++i)
    layers.push_back(std::make_unique<QwenLayer>(this, text_of("layers.", i), c));
}

Variables QwenText::hidden_states(const at::Tensor& ids_BS) const {
  const Scope scope(*this);
  require(ids_BS.dim() == 2 && ids_BS.size(1) <= config.max_position_embeddings, "token ids of shape ",
          ids_BS.sizes(), ", wanted (B,S) with S up to ", config.max_position_embeddings);
  Variables states = {embed_tokens(ids_BS)};
  const QwenPlaces places = places_of(config, ids_BS.size(1), states[0].value().options());
  for (const auto& layer : layers) states.push_back((*layer)(states.back(), places));
  states.back() = norm(states.back());
  return states;
}

}  // namespace orrery
