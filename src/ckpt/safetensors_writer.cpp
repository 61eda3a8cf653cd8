#include "ckpt/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/safetensors.h"

namespace orrery {
namespace {

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail("safetensors: ", printable(text), " is not UTF-8");
  }
}

std::vector<TensorSpec> in_file_order(std::vector<TensorSpec> specs) {
  for (const TensorSpec& spec : specs) {
    require(spec.name != "__metadata__", "safetensors: a tensor cannot be named __metadata__");
    require(find_safetensors_dtype(spec.dtype) != nullptr, "safetensors: tensor ", printable(spec.name),
            ": no safetensors dtype for ", spec.dtype);
  }
  std::sort(specs.begin(), specs.end(), [](const TensorSpec& a, const TensorSpec& b) {
    const auto *const left = find_safetensors_dtype(a.dtype), *const right = find_safetensors_dtype(b.dtype);
    return left != right ? left > right : a.name < b.name;  // the table goes from narrow to wide
  });
  return specs;
}

void check_names(const std::vector<TensorSpec>& specs) {
  std::vector<std::string_view> names;
  for (const TensorSpec& spec : specs) names.push_back(spec.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  require(twice == names.end(), "safetensors: two tensors are named ",
          twice == names.end() ? "" : printable(*twice));
}

std::string header_text(const std::vector<TensorSpec>& specs,
                        const std::map<std::string, std::string>& metadata) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      header += (header.back() == '{' ? "" : ",") + json_string(key) + ":" + json_string(value);
    header += "}";
  }
  int64_t offset = 0;
  for (const TensorSpec& spec : specs) {
    const SafetensorsDtype& dtype = *find_safetensors_dtype(spec.dtype);
    int64_t end = c10::multiply_integers(spec.shape);
    require(!__builtin_mul_overflow(end, dtype.bits / 8, &end) && !__builtin_add_overflow(end, offset, &end),
            "safetensors: tensor ", printable(spec.name), ": the file would be larger than 2^63 bytes");
    std::string shape;
    for (const int64_t size : spec.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    header += (header.size() == 1 ? "" : ",") + json_string(spec.name) +
              text_of(":{\"dtype\":\"", dtype.name, "\",\"shape\":[", shape, "],\"data_offsets\":[", offset,
                      ",", end, "]}");
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(header.size() <= kMaxSafetensorsHeader, "safetensors: header of ", header.size(),
          " bytes is above the limit of ", kMaxSafetensorsHeader);
  return header;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs,
                                     const std::map<std::string, std::string>& metadata)
    : WeightWriter(path, in_file_order(std::move(specs))), file_(path) {
  check_names(specs_);
  const std::string header = header_text(specs_, metadata);
  const uint64_t length = header.size();
  file_.write(&length, 8);
  file_.write(header.data(), header.size());
}

void SafetensorsWriter::append(const TensorSpec&, const at::Tensor& part) {
  file_.write(part.const_data_ptr(), part.nbytes());
}

void save_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    require(tensor.defined() && tensor.layout() == at::kStrided, "safetensors: tensor ", printable(name),
            " is not dense");
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(specs), metadata);
  for (const TensorSpec& spec : writer.specs()) writer.write(tensors.at(spec.name));
  writer.publish();
}

}  // namespace orrery
