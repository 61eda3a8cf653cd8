#pragma once
// What the language models that read prompts share.
#include "model/layers.h"

namespace orrery {

// RMS norm over the last dim that rounds before the product with the weight, as transformers' models do.
struct LmNorm final : Module {
  LmNorm(Module* parent, std::string name, int64_t dim, double norm_eps);
  Parameter weight;  // (dim)
  double eps;
  Variable operator()(const Variable& x) const;
};

struct TokenTable final : Module {
  TokenTable(Module* parent, std::string name, int64_t rows, int64_t dim);
  Parameter weight;                                  // (rows, dim)
  Variable operator()(const at::Tensor& ids) const;  // (..., dim)
};

// Standard deviation 0.02, initializer_range of the released files.
Init lm_init();

}  // namespace orrery
