#include "plan/ceilings.h"

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "ops/kernels.h"

namespace orrery {
namespace {

using Json = nlohmann::json;

std::map<std::string, double*> fields(Ceilings& c) {
  return {{"memory_gib", &c.memory_gib},
          {"reserved_gib", &c.reserved_gib},
          {"fragmentation", &c.fragmentation},
          {"peak_tflops", &c.peak_tflops},
          {"matmul_tflops", &c.matmul_tflops},
          {"matmul_float32_tflops", &c.matmul_float32_tflops},
          {"attention_forward_tflops", &c.attention_forward_tflops},
          {"attention_backward_tflops", &c.attention_backward_tflops},
          {"deterministic_attention_backward_tflops", &c.deterministic_attention_backward_tflops},
          {"tiled_attention_forward_tflops", &c.tiled_attention_forward_tflops},
          {"tiled_attention_backward_tflops", &c.tiled_attention_backward_tflops},
          {"deterministic_tiled_attention_backward_tflops", &c.deterministic_tiled_attention_backward_tflops},
          {"short_attention_forward_tflops", &c.short_attention_forward_tflops},
          {"short_attention_backward_tflops", &c.short_attention_backward_tflops},
          {"memory_gb_per_s", &c.memory_gb_per_s},
          {"op_us", &c.op_us},
          {"product_tail_us", &c.product_tail_us},
          {"ranks_per_node", &c.ranks_per_node},
          {"inside_gb_per_s", &c.inside_gb_per_s},
          {"between_gb_per_s", &c.between_gb_per_s},
          {"inside_latency_us", &c.inside_latency_us},
          {"between_latency_us", &c.between_latency_us}};
}

bool may_be_zero(const std::string& key) {
  return key.find("tiled_attention") != std::string::npos || key == "reserved_gib" ||
         key == "fragmentation" || key.ends_with("_us");
}

double read_number(const std::string& where, const std::string& key, const Json& entry) {
  require(entry.is_object(), where, ": ", key, " is no object with value and source");
  for (const auto& [word, unused] : entry.items())
    require(word == "value" || word == "source" || word == "estimate", where, ": ", key, " has an unknown \"",
            word, "\", wanted value, source and perhaps estimate");
  require(entry.contains("value") && entry["value"].is_number(), where, ": ", key,
          " has no number \"value\"");
  require(entry.contains("source") && entry["source"].is_string() && !entry["source"].empty(), where, ": ",
          key, " has no \"source\": say where the number is from");
  require(!entry.contains("estimate") || entry["estimate"].is_boolean(), where, ": ", key,
          ": \"estimate\" is neither true nor false");
  const double value = entry["value"];
  require(std::isfinite(value) && (value > 0 || (value == 0 && may_be_zero(key))), where, ": ", key, " = ",
          value, ", wanted a number ", may_be_zero(key) ? ">= 0" : "> 0");
  return value;
}

std::string read_text(const std::string& where, const Json& json, const std::string& key) {
  require(json.contains(key) && json[key].is_string(), where, ": no text \"", key, "\"");
  return json[key];
}

Ceilings parse(const std::string& where, std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(json.is_object(), where, ": is no JSON object");
  Ceilings c;
  auto numbers = fields(c);
  c.name = read_text(where, json, "name");
  const std::string device = read_text(where, json, "device");
  require(device == "cpu" || device == "cuda", where, ": device \"", device, "\", wanted cpu or cuda");
  c.device = device == "cpu" ? Device::cpu : Device::cuda;
  for (const auto& [key, entry] : json.items()) {
    if (key == "name" || key == "device") continue;
    const auto field = numbers.find(key);
    require(field != numbers.end(), where, ": unknown key ", key);
    *field->second = read_number(where, key, entry);
    if (entry.value("estimate", false)) c.estimates.push_back(key);
    numbers.erase(field);
  }
  std::string missing;
  for (const auto& [key, unused] : numbers) missing += (missing.empty() ? "" : ", ") + key;
  require(missing.empty(), where, ": missing ", missing);
  require(c.fragmentation < 1, where, ": fragmentation = ", c.fragmentation, ", wanted a share below 1");
  require(c.ranks_per_node == std::floor(c.ranks_per_node) && c.ranks_per_node <= 1024, where,
          ": ranks_per_node = ", c.ranks_per_node, ", wanted a whole number up to 1024");
  return c;
}

}  // namespace

Links Ceilings::links() const {
  return {.inside = 1e9 * inside_gb_per_s,
          .between = 1e9 * between_gb_per_s,
          .inside_latency = 1e-6 * inside_latency_us,
          .between_latency = 1e-6 * between_latency_us};
}

std::vector<std::string> ceilings_names() {
  std::vector<std::string> names;
  for (const BuiltInCeilings& known : built_in_ceilings()) names.emplace_back(known.name);
  return names;
}

Ceilings read_ceilings(const std::string& name_or_file) {
  std::string names;
  for (const BuiltInCeilings& known : built_in_ceilings()) {
    if (known.name == name_or_file) return parse("ceilings " + name_or_file, known.json);
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  require(std::filesystem::is_regular_file(name_or_file), "ceilings: ", name_or_file,
          " is neither a file nor one of ", names);
  std::ifstream in(name_or_file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  require(in.good() || in.eof(), name_or_file, ": cannot be read");
  return parse(name_or_file, text);
}

Ceilings as_built(Ceilings ceilings) {
  if (!kernels::cuda::has_tiled_attention()) ceilings.tiled_attention_forward_tflops = 0;
  return ceilings;
}

}  // namespace orrery
