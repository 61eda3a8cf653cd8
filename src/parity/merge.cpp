#include "parity/merge.h"

#include <ATen/ops/cat.h>

#include "ckpt/row_parts.h"
#include "ckpt/weight_file.h"
#include "merge/merge.h"
#include "parity/options.h"

namespace orrery {
namespace {

// The inputs under a prefix, as if they were a file.
class InputWeights final : public WeightFile {
 public:
  InputWeights(const Case& c, const std::string& prefix) : WeightFile(c.name + ": inputs." + prefix) {
    for (const auto& [name, tensor] : c.inputs) {
      if (!name.starts_with(prefix)) continue;
      const std::string key = name.substr(prefix.size());
      tensors_.emplace(key, tensor);
      entries_.emplace(key, WeightEntry{tensor.scalar_type(), tensor.sizes().vec()});
    }
  }

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override {
    const at::Tensor& whole = tensors_.at(name);
    return whole.dim() == 0 ? whole : whole.narrow(0, rows.begin, rows.size());
  }

 private:
  NamedTensors tensors_;
};

std::vector<double> numbers(const Case& c, const std::string& key) {
  return c.option_or(key, std::vector<double>{});
}

MergeConfig merge_config(const Case& c) {
  require_known_options(c, {"num_models", "weights", "lambda", "density", "normalize", "consensus_method",
                            "trim", "rescale", "base_weight"});
  MergeConfig m{.weights = numbers(c, "weights"),
                .base_weight = c.option_or("base_weight", 0.0),
                .density = numbers(c, "density"),
                .lambda = c.option_or("lambda", 1.0),
                .rescale = c.option_or("rescale", true)};
  const std::string method = c.module.substr(c.module.find('_') + 1);
  const auto names = names_of(m.method);
  m.method = static_cast<MergeMethod>(std::find(names.begin(), names.end(), method) - names.begin());
  if (m.method == MergeMethod::task_arithmetic) {
    for (const double density : m.density)
      require(density == 1, "config option density is ", density, ": task arithmetic keeps everything");
    m.density.clear();
  }
  if (c.config.contains("normalize"))
    m.normalize = c.option<bool>("normalize") ? Normalize::yes : Normalize::no;
  if (c.config.contains("consensus_method"))
    m.consensus =
        choice<Consensus>(c, "consensus_method", {{"sum", Consensus::sum}, {"count", Consensus::count}});
  if (c.config.contains("trim"))
    m.trim = choice<Trim>(c, "trim", {{"tensor", Trim::tensor}, {"global", Trim::global}});
  return m;
}

Uniforms stored_uniforms(const Case& c) {
  return [&c](size_t model, const std::string& name, RowRange elements) {
    const at::Tensor all =
        c.input(text_of("uniform", model, ".", name), at::kCPU).to(at::kFloat).contiguous().view({-1});
    require(elements.end <= all.numel(), "inputs.uniform", model, ".", name, " is too small");
    return all.narrow(0, elements.begin, elements.size());
  };
}

}  // namespace

NamedTensors run_merge(const Case& c, at::Device device) {
  const InputWeights base(c, "base.");
  std::vector<InputWeights> models;
  for (int64_t i = 0; i < c.count_option("num_models"); ++i) models.emplace_back(c, text_of("model", i, "."));
  MergeInputs inputs{.base = base.entries().empty() ? nullptr : &base, .models = {}};
  for (const InputWeights& model : models) inputs.models.push_back(&model);
  const Merger merger(inputs, {merge_config(c), stored_uniforms(c), kPartElements});
  NamedTensors results;
  for (const TensorSpec& spec : merger.specs()) {
    std::vector<at::Tensor> parts;
    merger.tensor(spec.name, [&](const at::Tensor& part) { parts.push_back(part.reshape({-1})); });
    results.emplace(spec.name, at::cat(parts).view(spec.shape).to(device));
  }
  return wanted(c, std::move(results));
}

}  // namespace orrery
