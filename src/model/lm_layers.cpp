#include "model/lm_layers.h"

#include <ATen/ops/ones.h>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/norm.h"

namespace orrery {

LmNorm::LmNorm(Module* parent, std::string name, int64_t dim, double norm_eps)
    : Module(parent, std::move(name)), weight(this, "weight", {dim}, Init::ones()), eps(norm_eps) {}

Variable LmNorm::operator()(const Variable& x) const {
  const Scope scope(*this);
  const Variable ones(at::ones(weight.shape(), x.value().options()));
  return ops::mul(ops::rms_norm(x, ones, eps), ops::cast(weight, x.dtype()));
}

TokenTable::TokenTable(Module* parent, std::string name, int64_t rows, int64_t dim)
    : Module(parent, std::move(name)), weight(this, "weight", {rows, dim}, lm_init()) {}

Variable TokenTable::operator()(const at::Tensor& ids) const {
  const Scope scope(*this);
  return ops::embedding(ids, weight);
}

Init lm_init() {
  return Init::normal(0.02);
}

}  // namespace orrery
