#pragma once
// Small models and their merge.
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <cstring>

#include "base/error.h"
#include "base/rng.h"
#include "merge/merge.h"

namespace orrery::test {

using Model = std::map<std::string, at::Tensor>;

inline at::Tensor vector_of(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat);
}

// Odd sizes, a scalar, an empty tensor, whole numbers.
inline Model random_model(uint64_t seed, at::ScalarType type = at::kFloat) {
  Model model;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    const Rng rng(seed, "test." + name);
    model.emplace(name, rng.normal_tensor(shape).to(type));
  };
  add("net.blocks.0.weight", {7, 13});
  add("net.blocks.0.norm", {31});
  add("net.conv", {3, 2, 1, 5});
  add("net.scale", {});
  add("net.empty", {0, 4});
  model.emplace("net.counter", at::full({2}, static_cast<int64_t>(seed), at::kLong));
  model.emplace("net.blocks.0._extra_state", at::full({3}, static_cast<double>(seed), at::kFloat));
  return model;
}

// b and models near it.
struct Family {
  Model base;
  std::vector<Model> models;
};
inline Family random_family(size_t models, at::ScalarType type = at::kFloat) {
  Family family{random_model(1, type), {}};
  for (size_t k = 0; k < models; ++k) {
    Model model = random_model(k + 2, type);
    for (auto& [name, tensor] : model)
      if (tensor.is_floating_point())
        tensor = (family.base.at(name).to(at::kDouble) + tensor.to(at::kDouble) * 0.1).to(type);
    family.models.push_back(std::move(model));
  }
  return family;
}

inline at::Tensor whole(const Merger& merger, const TensorSpec& spec) {
  std::vector<at::Tensor> parts;
  merger.tensor(spec.name, [&](const at::Tensor& part) { parts.push_back(part.reshape({-1})); });
  return at::cat(parts).view(spec.shape);
}

// A model as if it were a file.
class MemoryWeights final : public WeightFile {
 public:
  MemoryWeights(const std::string& name, Model model) : WeightFile(name), model_(std::move(model)) {
    for (const auto& [key, tensor] : model_)
      entries_.emplace(key, WeightEntry{tensor.scalar_type(), tensor.sizes().vec()});
  }

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override {
    const at::Tensor& whole = model_.at(name);
    return whole.dim() == 0 ? whole : whole.narrow(0, rows.begin, rows.size());
  }

 private:
  Model model_;
};

// With the base unless it is empty.
inline Model merged(const Family& family, const MergeConfig& config, int64_t part_elements = 1 << 20) {
  const MemoryWeights base("base", family.base);
  std::vector<std::unique_ptr<WeightFile>> models;
  MergeInputs inputs;
  for (const Model& model : family.models) {
    models.push_back(std::make_unique<MemoryWeights>(text_of("model", models.size()), model));
    inputs.models.push_back(models.back().get());
  }
  if (!family.base.empty()) inputs.base = &base;
  const Merger merger(inputs, {config, seeded_uniforms(config.seed), part_elements});
  Model result;
  for (const TensorSpec& spec : merger.specs()) result.emplace(spec.name, whole(merger, spec).clone());
  return result;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

inline std::vector<double> numbers_of(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).contiguous();
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

}  // namespace orrery::test
