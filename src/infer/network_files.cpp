#include "infer/network_files.h"

#include "base/strict_json.h"
#include "ckpt/digest.h"
#include "ckpt/file_io.h"
#include "ckpt/key_rules.h"
#include "ckpt/mapped_file.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int kMaxDepth = 32;

}  // namespace

fs::path folder_of_weights(const fs::path& weights) {
  return fs::is_directory(weights) ? weights : weights.parent_path();
}

nlohmann::json read_config_json(const fs::path& weights) {
  const fs::path file = folder_of_weights(weights) / "config.json";
  if (!fs::exists(file)) return nullptr;
  try {
    return parse_strict_json(read_whole(file, kMaxConfigBytes), kMaxDepth);
  } catch (const Error& error) {
    throw Error(text_of(file.string(), ": ", error.what()), error.code(), error.where());
  }
}

void load_network(const fs::path& path, const Module& net, const std::vector<std::string>& unused) {
  const std::unique_ptr<WeightFile> weights = open_weights(path);
  LoadRequest request;
  for (const Parameter* p : net.parameters())
    request.parameters.push_back({p->key(), p->shape(), 0, p->value()});
  for (const std::string& prefix : unused) {
    const auto found = weights->entries().lower_bound(prefix);
    if (found != weights->entries().end() && found->first.starts_with(prefix))
      request.partial.push_back(prefix + "*");  // a pattern without effect is refused
  }
  load_shards(*weights, request);
}

std::string digest_of_weights(const Module& net) {
  DigestStream digest;
  for (const Parameter* p : net.parameters()) {
    const at::Tensor value = p->value().cpu().contiguous();
    digest.add(p->key());
    digest.add({static_cast<const char*>(value.const_data_ptr()), static_cast<size_t>(value.nbytes())});
  }
  return hex_of(digest.value());
}

std::string digest_of_stored(const fs::path& path) {
  const std::unique_ptr<WeightFile> weights = open_weights(path);
  DigestStream digest;
  for (const auto& [name, entry] : weights->entries()) {
    const at::Tensor value = weights->tensor(name).contiguous();
    digest.add(name);
    digest.add({static_cast<const char*>(value.const_data_ptr()), static_cast<size_t>(value.nbytes())});
    weights->release_pages();
  }
  return hex_of(digest.value());
}

std::string digest_of_file(const fs::path& file) {
  const auto mapped = MappedFile::open(file);
  return hex_of(digest_of({mapped->data(), mapped->size()}));
}

}  // namespace orrery
