#include "bench/op_cases.h"

#include "infer/world_model.h"
#include "ops/activation.h"
#include "ops/adaln.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/norm.h"
#include "ops/norm_rope.h"
#include "ops/numeric.h"
#include "ops/shape.h"

namespace orrery {
namespace {

// Sizes of a step on one rank.
struct Sizes {
  explicit Sizes(const Config& c)
      : net(dit_config(c)),
        type(scalar_type(c.numerics.dtype)),
        clips(c.train.micro_batch > 0 ? std::min(c.train.micro_batch, c.train.batch) : c.train.batch),
        context(c.parallel.context),
        frames((1 + (c.data.frames - 1) / 4) / context),
        rows(c.data.height / 8),
        columns(c.data.width / 8),
        text(text_tokens(c)) {}
  int64_t tokens() const {
    return frames * (rows / net.patch_spatial) * (columns / net.patch_spatial);
  }  // of the rank
  int64_t hidden() const {
    return static_cast<int64_t>(static_cast<double>(net.model_channels) * net.mlp_ratio);
  }

  DiTConfig net;
  at::ScalarType type;
  int64_t clips, context, frames, rows, columns, text;  // rows, columns: of latents
};

void add_products(std::vector<OpCase>& cases, const Sizes& s) {
  const int64_t d = s.net.model_channels, hidden = s.hidden();
  const auto product = [&](const std::string& name, int64_t rows, int64_t in, int64_t out) {
    cases.push_back({name, {{{s.clips, rows, in}, s.type}, {{out, in}, s.type}}, [](const Variables& v) {
                       return ops::linear(v[0], v[1]);
                     }});
  };
  product("linear of attention", s.tokens(), d, d);
  product("linear of mlp.layer1", s.tokens(), d, hidden);
  product("linear of mlp.layer2", s.tokens(), hidden, d);
  product("linear of text keys", s.text, s.net.crossattn_emb_channels, d);
}

void add_attention(std::vector<OpCase>& cases, const Sizes& s) {
  const int64_t heads = s.net.num_heads, dim = s.net.model_channels / heads;
  const int64_t mine = (heads + s.context - 1) / s.context;  // heads under context parallelism
  const auto attention = [&](const std::string& name, int64_t n, int64_t queries, int64_t keys) {
    const OpCase::Input k{{s.clips, keys, n, dim}, s.type};
    cases.push_back({name, {{{s.clips, queries, n, dim}, s.type}, k, k}, [](const Variables& v) {
                       return ops::attention(v[0], v[1], v[2]);
                     }});
  };
  attention("attention, self", mine, s.tokens() * s.context, s.tokens() * s.context);
  attention("attention, cross", heads, s.tokens(), s.text);
  const Shape q = {s.clips, s.tokens(), heads, dim}, angles = {s.tokens(), dim / 2};
  const HeadSplit split{.receivers = heads % s.context == 0 ? s.context : 1};
  cases.push_back({"rms_norm of cross-attention's queries",
                   {{q, s.type}, {{dim}, s.type}},
                   [](const Variables& v) { return ops::rms_norm(v[0], v[1], 1e-6); }});
  cases.push_back(
      {"rms_norm_rope of queries",
       {{q, s.type}, {{dim}, s.type}, {angles, acc_type(s.type), false}, {angles, acc_type(s.type), false}},
       [split](const Variables& v) {
         return ops::rms_norm_rope(v[0], v[1], 1e-6, v[2].value(), v[3].value(), split);
       }});
}

void add_the_rest(std::vector<OpCase>& cases, const Sizes& s) {
  const int64_t d = s.net.model_channels, side = s.net.patch_spatial;
  const OpCase::Input x{{s.clips, s.frames, s.rows / side, s.columns / side, d}, s.type};
  const OpCase::Input modulation{{s.clips, 1, 1, 1, d}, s.type};
  cases.push_back({"adaln", {x, modulation, modulation}, [](const Variables& v) {
                     return ops::adaln(v[0], v[1], v[2], 1e-6);
                   }});
  cases.push_back(
      {"gated_add", {x, modulation, x}, [](const Variables& v) { return ops::gated_add(v[0], v[1], v[2]); }});
  cases.push_back({"gelu", {{{s.clips, s.tokens(), s.hidden()}, s.type}}, [](const Variables& v) {
                     return ops::gelu(v[0]);
                   }});
  if (s.type != acc_type(s.type))
    cases.push_back({"cast to float32", {x}, [](const Variables& v) { return ops::cast(v[0], at::kFloat); }});
  const OpCase::Input latents{{s.clips, s.net.out_channels, s.frames, s.rows, s.columns}, acc_type(s.type)};
  cases.push_back({"squared_error", {latents, {latents.shape, latents.dtype, false}}, [](const Variables& v) {
                     return ops::squared_error(v[0], v[1]);
                   }});
}

}  // namespace

std::vector<OpCase> op_cases(const Config& config) {
  const Sizes sizes(config);
  std::vector<OpCase> cases;
  add_products(cases, sizes);
  add_attention(cases, sizes);
  add_the_rest(cases, sizes);
  return cases;
}

}  // namespace orrery
