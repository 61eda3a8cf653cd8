#include "parity/case.h"

#include <c10/core/ScalarType.h>

#include <cmath>

#include "ckpt/safetensors.h"

namespace orrery {
namespace {

const std::map<std::string, at::ScalarType> kDtypes{
    {"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float64", at::kDouble}};

const std::string& metadata_of(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  require(found != file.metadata().end(), "metadata has no ", key, " (not a golden case?)");
  return found->second;
}

Json json_object(const std::string& what, const std::string& text) {
  // Finding a key in an ordered object is a linear search.
  require(text.size() <= 256 << 10, "metadata ", what, " of ", text.size(), " bytes is larger than 256 KiB");
  // Writing a value out again recurses, so its depth is bounded here.
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    require(depth < 32, "metadata ", what, " is nested too deeply");
    return true;
  };
  Json value = Json::parse(text, bounded, /*allow_exceptions=*/false);
  require(value.is_object(), "metadata ", what, " is not a JSON object");
  return value;
}

double bound(const std::string& key, const Json& value) {
  require(value.is_number(), "tolerance of '", key, "' is not a number");
  const double number = value.get<double>();
  require(std::isfinite(number) && number >= 0, "tolerance of '", key, "' is ", number);
  return number;
}

void read_tolerances(Case& c, const Safetensors& file) {
  const Json tolerance = json_object("tolerance", metadata_of(file, "tolerance"));
  for (const auto& [key, value] : tolerance.items()) c.tolerance[key] = bound(key, value);
  if (file.metadata().count("int_tolerance") == 0) return;
  const Json integers = json_object("int_tolerance", metadata_of(file, "int_tolerance"));
  for (const auto& [key, value] : integers.items()) {
    require(
        value.is_object() && value.size() == 2 && value.contains("max_abs") && value.contains("max_fraction"),
        "int_tolerance of '", key, "' is not {max_abs, max_fraction}");
    c.int_tolerance[key] = {static_cast<int64_t>(std::min(bound(key, value["max_abs"]), 1e18)),
                            bound(key, value["max_fraction"])};
  }
}

void sort_tensors(Case& c, const Safetensors& file) {
  const std::map<std::string, NamedTensors*> sections{{"weights", &c.weights},
                                                      {"inputs", &c.inputs},
                                                      {"cotangents", &c.cotangents},
                                                      {"tangents", &c.tangents},
                                                      {"outputs", &c.expected}};
  for (const auto& [key, tensor] : file.tensors()) {
    const size_t dot = key.find('.');
    const std::string section = key.substr(0, dot), name = dot == key.npos ? "" : key.substr(dot + 1);
    require(!name.empty(), "tensor '", key, "' is not named SECTION.NAME");
    if (section == "grads" || section == "input_grads" || section == "output_tangents") {
      c.expected.emplace(key, tensor);
      continue;
    }
    const auto found = sections.find(section);
    require(found != sections.end(), "tensor '", key, "': unknown section");
    require(found->second->emplace(name, tensor).second, "tensor '", key, "': expected twice");
  }
}

void check_expected(const Case& c) {
  require(!c.expected.empty(),
          "nothing is expected: no outputs.*, grads.*, input_grads.* or output_tangents.*");
  for (const auto& [name, tensor] : c.expected)
    require(!tensor.is_floating_point() || tolerance_of(c, name), "no tolerance covers '", name, "'");
}

template <class Read>
Case read_case(const std::filesystem::path& path, const Read& read) {
  const Safetensors file(path);
  try {
    Case c;
    c.file = path;
    c.name = path.stem().string();
    c.module = metadata_of(file, "module");
    read(c, file);
    return c;
  } catch (const Error& error) {
    throw Error(text_of(path.string(), ": ", error.what()), error.code(), error.where());
  }
}

at::ScalarType dtype_named(const std::string& name) {
  const auto found = kDtypes.find(name);
  require(found != kDtypes.end(), "metadata dtype is '", name, "', wanted float32, bfloat16 or float64");
  return found->second;
}

const at::Tensor& named(const NamedTensors& tensors, const std::string& section, const std::string& name) {
  const auto found = tensors.find(name);
  require(found != tensors.end(), "the file has no ", section, ".", name);
  return found->second;
}

}  // namespace

at::Tensor Case::weight(const std::string& key, at::Device device) const {
  const at::Tensor& stored = named(weights, "weights", key);
  return stored.to(device, stored.is_floating_point() ? dtype : stored.scalar_type());
}

at::Tensor Case::input(const std::string& name, at::Device device) const {
  const at::Tensor& stored = named(inputs, "inputs", name);
  const at::ScalarType type = stored.scalar_type();
  return stored.to(device, stored.is_floating_point() ? c10::promoteTypes(type, dtype) : type);
}

int64_t count_value(const Json& config, const std::string& key) {
  const auto count = option_value<int64_t>(config, key);
  require(count >= 1 && count <= int64_t{1} << 20, "config option ", key, " is ", count,
          ", wanted 1 to 2^20");
  return count;
}

std::optional<double> tolerance_of(const Case& c, const std::string& name) {
  std::optional<double> best;
  size_t length = 0;
  for (const auto& [prefix, value] : c.tolerance) {
    const bool is_rest = prefix == "*";
    if (!is_rest && (!name.starts_with(prefix) || prefix.size() < length)) continue;
    if (is_rest && best) continue;
    best = value;
    length = is_rest ? 0 : prefix.size();
  }
  return best;
}

Case load_case(const std::filesystem::path& path) {
  return read_case(path, [](Case& c, const Safetensors& file) {
    c.config = json_object("config", metadata_of(file, "config"));
    c.dtype = dtype_named(metadata_of(file, "dtype"));
    if (file.metadata().count("note")) c.note = metadata_of(file, "note");
    read_tolerances(c, file);
    if (c.module.ends_with("_contents"))
      c.expected = file.tensors();
    else
      sort_tensors(c, file);
    check_expected(c);
  });
}

Case load_forward_case(const std::filesystem::path& path) {
  return read_case(path, [](Case& c, const Safetensors& file) {
    c.config = json_object("config", file.metadata().count("config") ? metadata_of(file, "config") : "{}");
    if (file.metadata().count("dtype")) c.dtype = dtype_named(metadata_of(file, "dtype"));
    sort_tensors(c, file);
    c.expected.clear();
    c.expects_all = true;
  });
}

}  // namespace orrery
