#pragma once
// HfIndex: a model in several safetensors files with a *.safetensors.index.json beside them, as Hugging
// Face's libraries save it: {"metadata": {...}, "weight_map": {tensor: file}}. Opened through open_weights.
#include "ckpt/weight_file.h"

namespace orrery {

class Safetensors;

class HfIndex final : public WeightFile {
 public:
  // Maps all shards. Throws Error unless the map and the shards name the same tensors, each once, and every
  // shard is a plain file name of the index's folder.
  explicit HfIndex(const std::filesystem::path& index);
  ~HfIndex() override;
  void release_pages() const override;

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override;

 private:
  void open_shards(const std::map<std::string, std::string>& shard_of);

  std::map<std::string, std::unique_ptr<Safetensors>> shards_;  // by file name
  std::map<std::string, const Safetensors*> shard_of_;          // by tensor
};

}  // namespace orrery
