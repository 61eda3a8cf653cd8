#pragma once
// A network of the Wan2.1 autoencoder's shape for tests: every weight is random, norms' gammas and
// biases too.
#include "base/rng.h"
#include "model/wan_vae.h"

namespace orrery::test {

inline std::unique_ptr<WanVae> random_vae(at::ScalarType type, int64_t dim = 4) {
  auto net = std::make_unique<WanVae>(WanVaeConfig{.dim = dim}, WanVaePart::both);
  net->materialize(at::kCPU, type);
  net->initialize(3);
  for (Parameter* p : net->parameters()) {
    const bool is_weight = p->key().ends_with(".weight");
    at::Tensor value = p->value();
    if (!is_weight) value.add_(Rng(4, p->key()).normal_tensor(p->shape()) * 0.1);
  }
  net->set_needs_grad(false);
  return net;
}

inline at::Tensor film_values(at::IntArrayRef shape, at::ScalarType type) {
  return Rng(5, "film").normal_tensor(shape).clamp(-1, 1).to(type);
}

}  // namespace orrery::test
