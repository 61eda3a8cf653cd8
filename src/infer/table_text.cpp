#include "infer/table_text.h"

#include <ATen/ops/zeros.h>

#include <set>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/digest.h"
#include "data/caption.h"
#include "infer/network_files.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrompts = "metas";
constexpr const char* kEmbeddings = "t5_xxl";

// Rows and channels of [L,C] or [1,L,C].
std::pair<int64_t, int64_t> sizes_of(const WeightEntry& entry, const std::string& where) {
  const auto& shape = entry.shape;
  const bool has_form = shape.size() == 2 || (shape.size() == 3 && shape[0] == 1);
  require(has_form && entry.dtype && at::isFloatingType(*entry.dtype), where, ": ",
          entry.dtype ? c10::toString(*entry.dtype) : "?", " ", at::IntArrayRef(shape),
          ", wanted floating-point numbers [L,C] or [1,L,C]");
  return {shape[shape.size() - 2], shape.back()};
}

// The one tensor of a file of cosmos-predict2: a list of one array.
const WeightEntry& only_entry(const WeightFile& file) {
  require(file.entries().size() == 1, file.path().string(), ": holds ", file.entries().size(),
          " tensors, wanted the embedding of one prompt");
  return file.entries().begin()->second;
}

std::vector<fs::path> sorted_files(const fs::path& folder, const std::string& extension) {
  require(fs::is_directory(folder), folder.string(), ": no such folder");
  std::set<fs::path> files;
  for (const auto& item : fs::directory_iterator(folder))
    if (item.path().extension() == extension && !item.path().filename().string().starts_with('.'))
      files.insert(item.path());
  return {files.begin(), files.end()};
}

}  // namespace

TableText::TableText(const fs::path& path, int64_t tokens) : path_(path), tokens_(tokens) {
  require(tokens >= 1 && tokens <= 131072, "text table: ", tokens,
          " tokens, wanted 1 to 131072 (text.tokens)");
  if (fs::is_directory(path / kPrompts))
    read_folder();
  else
    read_file();
  require(!places_.empty(), path.string(), ": holds no embeddings");
}

void TableText::read_file() {
  const std::shared_ptr<const WeightFile> file = open_weights(path_);
  for (const auto& [name, entry] : file->entries()) {
    check(entry, name);
    places_.emplace(name, Place{file, path_, name});
  }
}

// Two films of one prompt have one embedding: the first is taken.
void TableText::read_folder() {
  for (const fs::path& meta : sorted_files(path_ / kPrompts, ".txt")) {
    const std::string prompt = read_caption(meta);
    const fs::path embedding = path_ / kEmbeddings / meta.stem().concat(".pickle");
    if (places_.count(prompt) > 0) continue;
    check(only_entry(*open_weights(embedding)), prompt);
    places_.emplace(prompt, Place{nullptr, embedding, ""});
  }
}

void TableText::check(const WeightEntry& entry, const std::string& prompt) {
  const std::string where = path_.string() + ": embedding of " + printable(prompt);
  const auto [rows, channels] = sizes_of(entry, where);
  require(rows >= 1 && channels >= 1, where, ": ", rows, " tokens of ", channels, " channels");
  if (channels_ == 0) channels_ = channels;
  require(channels == channels_, where, ": ", channels, " channels, the others have ", channels_);
  is_half_ = is_half_ && *entry.dtype == at::kBFloat16;
}

at::Tensor TableText::rows_of(const std::string& prompt) const {
  const auto found = places_.find(prompt);
  require(found != places_.end(), path_.string(), ": no embedding of the prompt ", printable(prompt),
          " among ", places_.size());
  const Place& place = found->second;
  if (place.file) return place.file->tensor(place.name).reshape({-1, channels_});
  const auto file = open_weights(place.path);  // checked again: it may have changed
  const auto [rows, channels] = sizes_of(only_entry(*file), place.path.string());
  require(channels == channels_, place.path.string(), ": ", channels, " channels, had ", channels_);
  return file->tensor(file->entries().begin()->first).reshape({rows, channels}).clone();
}

at::Tensor TableText::encode(const std::vector<std::string>& prompts) const {
  at::Tensor embedding =
      at::zeros({std::ssize(prompts), tokens_, channels_}, is_half_ ? at::kBFloat16 : at::kFloat);
  for (int64_t i = 0; i < std::ssize(prompts); ++i) {
    const at::Tensor rows = rows_of(prompts[static_cast<size_t>(i)]);
    const int64_t kept = std::min(rows.size(0), tokens_);
    embedding[i].slice(0, 0, kept).copy_(rows.slice(0, 0, kept));
  }
  return embedding;
}

std::string TableText::identity() const {
  std::call_once(digested_, [this] {
    std::string digests;
    std::set<fs::path> files;
    for (const auto& [prompt, place] : places_) {
      digests += prompt + '\0' + (place.file ? "" : digest_of_file(place.path)) + '\0';
      if (place.file) files.insert(path_);
    }
    for (const fs::path& file : files)
      if (fs::is_regular_file(file)) digests += digest_of_file(file);
    digest_ = hex_of(digest_of(digests));
  });
  return text_of("table ", digest_, " tokens ", tokens_, " channels ", channels_);
}

}  // namespace orrery
