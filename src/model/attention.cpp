#include "model/attention.h"

#include "base/error.h"
#include "ops/rope.h"
#include "ops/shape.h"

namespace orrery {

Attention::Attention(Module* parent, std::string name, int64_t dim, int64_t context_dim, int64_t num_heads)
    : Module(parent, std::move(name)),
      q_proj(this, "q_proj", dim, dim, fan_in(dim)),
      k_proj(this, "k_proj", context_dim, dim, fan_in(context_dim)),
      v_proj(this, "v_proj", context_dim, dim, fan_in(context_dim)),
      output_proj(this, "output_proj", dim, dim, fan_in(dim)),
      q_norm(this, "q_norm", dim / num_heads),
      k_norm(this, "k_norm", dim / num_heads),
      heads(num_heads),
      head_dim(dim / num_heads) {
  require(dim % num_heads == 0, path(), ": ", dim, " channels do not divide by ", num_heads, " heads");
}

Variable Attention::operator()(const Variable& x_BSD, const Variable& context_BNC,
                               const RopeTable* rope) const {
  const Scope scope(*this);
  const auto split = [&](const Variable& v) {
    return ops::reshape(v, {v.size(0), v.size(1), heads, head_dim});
  };
  const auto turned = [&](const Variable& v) { return rope ? ops::rope(v, rope->cos, rope->sin) : v; };
  const Variable out_BSND = attention([&] { return turned(q_norm(split(q_proj(x_BSD)))); },
                                      [&] { return turned(k_norm(split(k_proj(context_BNC)))); },
                                      [&] { return split(v_proj(context_BNC)); });
  return output_proj(ops::reshape(out_BSND, {x_BSD.size(0), x_BSD.size(1), heads * head_dim}));
}

}  // namespace orrery
