#pragma once
// WeightFile: named tensors on disk, whatever the format. Everything that loads weights (training, inference,
// import) goes through open_weights, so that each works with every format: safetensors, Hugging Face's
// sharded safetensors, PyTorch's .pt, folders of torch.distributed.checkpoint (DCP), and checkpoints of our
// own runs.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/shard.h"

namespace orrery {

struct WeightEntry {
  std::optional<at::ScalarType> dtype;  // none: a dtype that ATen lacks; listed, but not readable
  std::vector<int64_t> shape;
};

// What a file holds besides tensors, by path: numbers, strings, null, empty containers.
using WeightLeaves = std::map<std::string, nlohmann::json>;

class WeightFile {
 public:
  virtual ~WeightFile() = default;

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, WeightEntry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return entries_.count(name) > 0; }
  const WeightEntry& entry(const std::string& name) const;  // Error: unknown

  // Rows of dimension 0 (of a scalar: 0 to 1), on the CPU. A view of the mapped file where its layout allows,
  // and only the bytes of these rows are read. Do not change it in place. Error, with file and tensor:
  // unknown name, rows outside the tensor, a dtype without ATen type, damaged contents.
  at::Tensor rows(const std::string& name, RowRange rows) const;
  at::Tensor tensor(const std::string& name) const;  // the whole
  std::map<std::string, at::Tensor> tensors() const;

  virtual WeightLeaves leaves() const { return {}; }

  // Reads everything that has a checksum in the file and says, a line for each, what does not have it: the
  // entries of PyTorch's zips. Other formats have none.
  virtual std::vector<std::string> damage() const { return {}; }

  // Gives the memory of pages read so far back to the kernel; views stay valid and are read again when used.
  virtual void release_pages() const {}

 protected:
  explicit WeightFile(std::filesystem::path path) : path_(std::move(path)) {}
  virtual at::Tensor read(const std::string& name, RowRange rows) const = 0;  // name and rows are valid

  std::filesystem::path path_;
  std::map<std::string, WeightEntry> entries_;
};

// Opens a file by its contents, or a folder by the first of these that it holds: manifest.json (a run's
// checkpoint), .metadata (DCP; of a training checkpoint the part model/), *.safetensors.index.json,
// model.safetensors, or checkpoints/ (a run: its newest complete one). Throws Error, with the path, for
// anything malformed.
std::unique_ptr<WeightFile> open_weights(const std::filesystem::path& path);

}  // namespace orrery
