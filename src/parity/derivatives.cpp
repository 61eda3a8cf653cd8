#include "parity/derivatives.h"

#include <ATen/ops/zeros.h>

#include "autograd/tape.h"
#include "ops/numeric.h"

namespace orrery {
namespace {

bool wants_gradient(const Case& c, const std::string& name, const at::Tensor& value) {
  return !c.cotangents.empty() && value.is_floating_point() && c.wants(name);
}

void collect_gradients(const Case& c, const NamedVariables& leaves, const std::string& section,
                       NamedTensors& results) {
  for (const auto& [name, leaf] : leaves) {
    if (!leaf.needs_grad() || !c.wants(section + name)) continue;
    const at::Tensor zero_or_grad =
        leaf.grad().defined() ? leaf.grad() : at::zeros(leaf.shape(), leaf.value().options());
    results.emplace(section + name, zero_or_grad);
  }
}

std::vector<Recording::Seed> seeds_of(const Case& c, const NamedVariables& outputs) {
  std::vector<Recording::Seed> seeds;
  for (const auto& [name, cotangent] : c.cotangents) {
    const auto output = outputs.find(name);
    require(output != outputs.end(), "cotangents.", name, ": the module has no output ", name);
    const at::Tensor& value = output->second.value();
    require(cotangent.sizes() == value.sizes(), "cotangents.", name, ": shape ", cotangent.sizes(),
            ", the output has ", value.sizes());
    seeds.push_back({output->second, cotangent.to(value.options())});
  }
  return seeds;
}

}  // namespace

NamedVariables input_variables(const Case& c, at::Device device, std::initializer_list<const char*> names) {
  NamedVariables variables;
  for (const std::string name : names) {
    at::Tensor value = c.input(name, device);
    if (!value.is_floating_point()) value = value.to(acc_type(c.dtype));
    Variable variable(value, wants_gradient(c, "input_grads." + name, value));
    if (const auto tangent = c.tangents.find(name); tangent != c.tangents.end()) {
      require(tangent->second.sizes() == value.sizes(), "tangents.", name, ": shape ",
              tangent->second.sizes(), ", the input has ", value.sizes());
      variable = variable.with_tangent(tangent->second.to(value.options()));
    }
    variables.emplace(name, variable);
  }
  for (const auto& [name, unused] : c.tangents)
    require(variables.count(name) > 0, "tangents.", name, ": the module is not differentiated by ", name);
  return variables;
}

NamedVariables load_weights(Module& module, const Case& c, at::Device device) {
  const auto take = [&](const std::string& key, const at::IntArrayRef shape) {
    const at::Tensor value = c.weight(key, device);
    require(value.sizes() == shape, "weights.", key, ": shape ", value.sizes(), ", the module wants ", shape,
            " (does config fit the weights?)");
    return value;
  };
  NamedVariables variables;
  for (Parameter* const parameter : module.parameters()) {
    const at::Tensor value = take(parameter->key(), parameter->shape());
    parameter->variable() = Variable(value, wants_gradient(c, "grads." + parameter->key(), value));
    variables.emplace(parameter->key(), parameter->variable());
  }
  for (Buffer* const buffer : module.buffers())
    buffer->set_value(take(buffer->key(), buffer->value().sizes()));
  return variables;
}

NamedTensors run_with_derivatives(const Case& c, const NamedVariables& inputs, const NamedVariables& weights,
                                  const std::function<NamedVariables()>& forward) {
  std::optional<Recording> recording;
  if (!c.cotangents.empty()) recording.emplace();
  const NamedVariables outputs = forward();
  NamedTensors results;
  for (const auto& [name, output] : outputs) {
    if (c.wants(name)) results.emplace(name, output.value());
    if (!c.tangents.empty() && c.wants("output_tangents." + name))
      results.emplace("output_tangents." + name, output.tangent().defined()
                                                     ? output.tangent()
                                                     : at::zeros(output.shape(), output.value().options()));
  }
  if (!recording) return results;
  recording->backward(seeds_of(c, outputs));
  collect_gradients(c, weights, "grads.", results);
  collect_gradients(c, inputs, "input_grads.", results);
  return results;
}

}  // namespace orrery
