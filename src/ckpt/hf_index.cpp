#include "ckpt/hf_index.h"

#include "base/error.h"
#include "base/printable.h"
#include "base/strict_json.h"
#include "ckpt/mapped_file.h"
#include "ckpt/safetensors.h"

namespace orrery {
namespace {

using nlohmann::json;

constexpr size_t kMaxIndexBytes = 100'000'000;  // as for the header of a safetensors file
constexpr int kMaxDepth = 16;

json parse_index(std::string_view text) {
  require(text.size() <= kMaxIndexBytes, "an index of ", text.size(), " bytes is above the limit of ",
          kMaxIndexBytes);
  json index = parse_strict_json(text, kMaxDepth);
  require(index.is_object(), "is not a JSON object");
  return index;
}

std::map<std::string, std::string> weight_map(const json& index) {
  require(index.contains("weight_map") && index["weight_map"].is_object(),
          "has no object weight_map (another kind of JSON file?)");
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, file] : index["weight_map"].items()) {
    require(file.is_string(), "weight_map of ", printable(name), " is no file name");
    const std::string shard = file.get<std::string>();
    const bool plain =
        !shard.empty() && shard.find_first_of(std::string("/\\\0", 3)) == shard.npos && shard.front() != '.';
    require(plain, "weight_map of ", printable(name), ": ", printable(shard),
            " is not a file of the index's folder");
    shard_of.emplace(name, shard);
  }
  return shard_of;
}

}  // namespace

HfIndex::HfIndex(const std::filesystem::path& index) : WeightFile(index) {
  const auto file = MappedFile::open(index);
  try {
    open_shards(weight_map(parse_index({file->data(), file->size()})));
  } catch (const Error& error) {
    throw Error(text_of(index.string(), ": ", error.what()), error.code(), error.where());
  }
}

HfIndex::~HfIndex() = default;

void HfIndex::open_shards(const std::map<std::string, std::string>& shard_of) {
  for (const auto& [name, file] : shard_of) {
    auto& shard = shards_[file];
    if (!shard) shard = std::make_unique<Safetensors>(path_.parent_path() / file);
    require(shard->contains(name), "shard ", file, " lacks tensor ", printable(name),
            ", which weight_map places there");
    const SafetensorsEntry& entry = shard->entries().at(name);
    entries_.emplace(name, WeightEntry{entry.dtype->scalar, entry.shape});
    shard_of_.emplace(name, shard.get());
  }
  for (const auto& [file, shard] : shards_)
    for (const auto& [name, entry] : shard->entries()) {
      const auto found = shard_of.find(name);
      require(found != shard_of.end() && found->second == file, "shard ", file, " holds tensor ",
              printable(name), ", which weight_map does not place there");
    }
}

at::Tensor HfIndex::read(const std::string& name, RowRange rows) const {
  return shard_of_.at(name)->rows(name, rows);
}

void HfIndex::release_pages() const {
  for (const auto& [file, shard] : shards_) shard->release_pages();
}

}  // namespace orrery
