#include "model/attention.h"

#include "base/error.h"
#include "ops/norm_rope.h"
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
  const auto in_heads = [&](const Variable& v) {
    return ops::reshape(v, {v.size(0), v.size(1), heads, head_dim});
  };
  const auto normed = [&](const RmsNorm& norm, const Variable& v, const HeadSplit& wish) {
    if (!rope) return norm(v);
    const Scope of_norm(norm);
    return ops::rms_norm_rope(v, norm.weight, RmsNorm::kEps, rope->cos, rope->sin,
                              wish.divides(heads) ? wish : HeadSplit{});
  };
  const Variable out_BSND =
      attention([&](const HeadSplit& wish) { return normed(q_norm, in_heads(q_proj(x_BSD)), wish); },
                [&](const HeadSplit& wish) { return normed(k_norm, in_heads(k_proj(context_BNC)), wish); },
                [&] { return in_heads(v_proj(context_BNC)); });
  return output_proj(ops::reshape(out_BSND, {x_BSD.size(0), x_BSD.size(1), heads * head_dim}));
}

}  // namespace orrery
