#pragma once
// Small text encoders with random weights, saved as Hugging Face's hub has them.
#include <fstream>

#include "autograd/module.h"
#include "base/rng.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"

namespace orrery::test {

// Every parameter, under its key.
inline std::map<std::string, at::Tensor> random_weights(Module& net) {
  net.materialize(at::kCPU, at::kFloat);
  net.initialize(5);
  std::map<std::string, at::Tensor> weights;
  for (const Parameter* p : net.parameters()) {
    const Rng rng(7, "test:" + p->key());
    weights[p->key()] = (p->value() + 0.1 * rng.normal_tensor(p->shape())).contiguous();
  }
  return weights;
}

// Two shards and their index.
inline void save_shards(const std::filesystem::path& folder,
                        const std::map<std::string, at::Tensor>& weights) {
  std::map<std::string, at::Tensor> parts[2];
  std::string map;
  for (const auto& [name, tensor] : weights) {
    const size_t shard = parts[0].size() <= parts[1].size() ? 0 : 1;
    parts[shard].emplace(name, tensor);
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"" + std::to_string(shard) + ".safetensors\"";
  }
  for (const size_t shard : {0, 1})
    save_safetensors(folder / (std::to_string(shard) + ".safetensors"), parts[shard]);
  write_file(folder / "model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
}

}  // namespace orrery::test
