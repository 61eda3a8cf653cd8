#include "ckpt/weight_file.h"

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/checkpoint_folder.h"
#include "ckpt/checkpoint_reader.h"
#include "ckpt/dcp.h"
#include "ckpt/hf_index.h"
#include "ckpt/mapped_file.h"
#include "ckpt/safetensors.h"
#include "ckpt/torch_file.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

class SafetensorsWeights final : public WeightFile {
 public:
  explicit SafetensorsWeights(const fs::path& path) : WeightFile(path), file_(path) {
    for (const auto& [name, entry] : file_.entries())
      entries_.emplace(name, WeightEntry{entry.dtype->scalar, entry.shape});
  }
  void release_pages() const override { file_.release_pages(); }

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override { return file_.rows(name, rows); }

 private:
  Safetensors file_;
};

// A checkpoint of our own runs, without the optimizer's part.
class CheckpointWeights final : public WeightFile {
 public:
  explicit CheckpointWeights(const fs::path& folder) : WeightFile(folder), checkpoint_(folder) {
    for (const auto& [name, t] : checkpoint_.entries())
      if (!name.starts_with("optim.")) entries_.emplace(name, WeightEntry{t.dtype, t.shape});
  }

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override {
    return checkpoint_.rows(name, rows.begin, rows.end);
  }

 private:
  Checkpoint checkpoint_;
};

std::vector<fs::path> index_files(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& item : fs::directory_iterator(folder))
    if (item.path().filename().string().ends_with(".safetensors.index.json")) found.push_back(item.path());
  return found;
}

std::unique_ptr<WeightFile> open_folder(const fs::path& folder) {
  if (fs::exists(folder / kManifestName)) return std::make_unique<CheckpointWeights>(folder);
  if (fs::exists(folder / ".metadata")) return std::make_unique<DcpFolder>(folder);
  if (fs::exists(folder / "model" / ".metadata")) return std::make_unique<DcpFolder>(folder / "model");
  const auto indexes = index_files(folder);
  require(indexes.size() <= 1, folder.string(), ": holds ", indexes.size(),
          " files *.safetensors.index.json, wanted one: name it");
  if (!indexes.empty()) return std::make_unique<HfIndex>(indexes.front());
  if (fs::exists(folder / "model.safetensors"))
    return std::make_unique<SafetensorsWeights>(folder / "model.safetensors");
  if (fs::is_directory(folder / "checkpoints"))
    return std::make_unique<CheckpointWeights>(CheckpointFolder(folder).newest());
  fail(folder.string(),
       ": a folder without weights: wanted checkpoints/ (a run), manifest.json (a checkpoint of one), ",
       ".metadata (a distributed one), *.safetensors.index.json or model.safetensors in it");
}

// A safetensors file is told by the '{' behind the length of its header; a pickle or a legacy .pt has another
// byte there.
std::unique_ptr<WeightFile> open_file(const fs::path& path) {
  const auto file = MappedFile::open(path);
  const std::string_view head(file->data(), std::min<size_t>(file->size(), 9));
  if (path.extension() == ".safetensors" || (head.size() == 9 && head[8] == '{'))
    return std::make_unique<SafetensorsWeights>(path);
  require(head.starts_with("PK") || head.starts_with('\x80'), path.string(),
          ": neither safetensors, nor a zip (.pt), nor a pickle: its first byte is ",
          head.empty() ? "missing" : printable(head.substr(0, 1)));
  return std::make_unique<TorchFile>(path);
}

}  // namespace

const WeightEntry& WeightFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), path_.string(), ": no tensor ", printable(name));
  return found->second;
}

at::Tensor WeightFile::rows(const std::string& name, RowRange rows) const {
  const WeightEntry& e = entry(name);
  const int64_t held = e.shape.empty() ? 1 : e.shape[0];
  require(0 <= rows.begin && rows.begin <= rows.end && rows.end <= held, path_.string(), ": tensor ",
          printable(name), ": rows ", rows.begin, " to ", rows.end, " of ", held);
  require(!e.shape.empty() || rows.size() == 1, path_.string(), ": tensor ", printable(name),
          ": a scalar has no part");
  require(e.dtype.has_value(), path_.string(), ": tensor ", printable(name),
          ": its dtype cannot be computed with");
  try {
    return read(name, rows);
  } catch (const Error& error) {
    const std::string what = error.what();
    if (what.starts_with(path_.string())) throw;
    throw Error(text_of(path_.string(), ": tensor ", printable(name), ": ", what), error.code(),
                error.where());
  }
}

at::Tensor WeightFile::tensor(const std::string& name) const {
  const WeightEntry& e = entry(name);
  return rows(name, {0, e.shape.empty() ? 1 : e.shape[0]});
}

std::map<std::string, at::Tensor> WeightFile::tensors() const {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, unused] : entries_) all.emplace(name, tensor(name));
  return all;
}

std::unique_ptr<WeightFile> open_weights(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is refused by name where it is opened
  if (fs::is_directory(path, ignored)) return open_folder(path);
  if (path.filename().string().ends_with(".json")) return std::make_unique<HfIndex>(path);
  return open_file(path);
}

}  // namespace orrery
