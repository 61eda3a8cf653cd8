#pragma once
// Case: one golden case, a safetensors file that holds a module's weights, inputs and what a trusted
// implementation made of them. Metadata: module, config (JSON), dtype, tolerance (JSON), optionally
// int_tolerance (JSON) and note. Tensors: weights.KEY, inputs.NAME, outputs.NAME, cotangents.OUTPUT,
// grads.KEY, input_grads.NAME, tangents.INPUT, output_tangents.OUTPUT. Of a module *_contents, the contents
// of another file under their own names. Read by `orrery parity` and, without anything expected, by `orrery
// forward`.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"

namespace orrery {

using NamedTensors = std::map<std::string, at::Tensor>;
using Json = nlohmann::ordered_json;  // the reference draws from dictionaries in their own order

struct IntTolerance {
  int64_t max_abs = 0;      // no element may differ by more
  double max_fraction = 0;  // no larger part of the elements may differ at all
};

// An option of a configuration. Error, naming the option: absent, of another type, not representable.
template <class T>
T option_value(const Json& config, const std::string& key) {
  require(config.contains(key), "config has no option ", key);
  const Json& value = config.at(key);
  const std::string problem = text_of("config option ", key, " has an unsuitable value: ", value.dump());
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    require(value.is_number_integer(), problem);
    require(value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>())
                                       : std::in_range<T>(value.get<int64_t>()),
            problem);
  } else if constexpr (std::is_floating_point_v<T>) {
    require(value.is_number(), problem);
  }
  try {
    return value.get<T>();
  } catch (const nlohmann::json::exception&) {
    fail(problem);
  }
}
// A number of things, from 1 to 2^20: products of a few of them do not overflow.
int64_t count_value(const Json& config, const std::string& key);

struct Case {
  std::filesystem::path file;
  std::string name;  // the file's stem
  std::string module, note;
  Json config;  // an object; option names of the reference, in the file's order
  at::ScalarType dtype = at::kFloat;
  std::map<std::string, double> tolerance;  // by prefix of the result's name; "*" for the rest
  std::map<std::string, IntTolerance> int_tolerance;

  NamedTensors weights, inputs, cotangents, tangents;  // as stored, on the CPU
  NamedTensors
      expected;  // by result name: outputs bare ("v"), others with section ("grads.KEY", "input_grads.x")

  // A weight, on this device; floating ones in the case's dtype. Error: not in the file.
  at::Tensor weight(const std::string& key, at::Device device) const;
  // An input, on this device; floating ones at least as wide as the case's dtype. So in a bfloat16 case what
  // the file keeps in float32 (times, solver state) stays float32. Error: not in the file.
  at::Tensor input(const std::string& name, at::Device device) const;
  bool has_input(const std::string& name) const { return inputs.count(name) > 0; }

  // Must the runner return this result? In a forward run, which expects nothing: every result.
  bool wants(const std::string& result) const { return expects_all || expected.count(result) > 0; }
  bool expects_all = false;

  template <class T>
  T option(const std::string& key) const {
    return option_value<T>(config, key);
  }
  int64_t count_option(const std::string& key) const { return count_value(config, key); }
  template <class T>
  T option_or(const std::string& key, T otherwise) const {
    return config.contains(key) && !config.at(key).is_null() ? option<T>(key) : otherwise;
  }
};

// Error, with the file's name: not a readable safetensors file, metadata missing or malformed, a tensor
// outside the sections, nothing expected, an expected floating tensor without tolerance.
Case load_case(const std::filesystem::path& file);
// For `forward`: only module is required of the metadata (dtype: float32, config: {}); what is expected is
// left out.
Case load_forward_case(const std::filesystem::path& file);

// The tolerance of the longest key that begins `name`, else that of "*", else nullopt.
std::optional<double> tolerance_of(const Case& c, const std::string& name);

}  // namespace orrery
