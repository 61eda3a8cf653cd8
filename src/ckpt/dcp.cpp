#include "ckpt/dcp.h"

#include <ATen/ops/empty.h>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/mapped_file.h"
#include "ckpt/torch_contents.h"
#include "ckpt/zip_archive.h"

namespace orrery {
namespace {

bool touches(const DcpChunk& chunk, RowRange rows) {
  return chunk.offsets.empty() ||
         (chunk.offsets[0] < rows.end && chunk.offsets[0] + chunk.sizes[0] > rows.begin);
}

// The chunk's rows that lie in `rows`, counted from the chunk's first.
RowRange common_rows(const DcpChunk& chunk, RowRange rows) {
  if (chunk.offsets.empty()) return {0, 1};
  return {std::max(rows.begin - chunk.offsets[0], int64_t{0}),
          std::min(rows.end - chunk.offsets[0], chunk.sizes[0])};
}

// Where those rows go in a tensor of `rows`.
at::Tensor target_of(at::Tensor out, const DcpChunk& chunk, RowRange common, RowRange rows) {
  if (chunk.offsets.empty()) return out;
  out = out.narrow(0, chunk.offsets[0] + common.begin - rows.begin, common.size());
  for (size_t i = 1; i < chunk.sizes.size(); ++i)
    out = out.narrow(static_cast<int64_t>(i), chunk.offsets[i], chunk.sizes[i]);
  return out;
}

// Else a small file could be read as tensors of many times its size. All lie inside their files.
void check_apart(std::vector<const DcpItem*> items) {
  std::sort(items.begin(), items.end(), [](const DcpItem* a, const DcpItem* b) {
    return std::tie(a->file, a->begin) < std::tie(b->file, b->begin);
  });
  for (size_t i = 1; i < items.size(); ++i)
    require(
        items[i - 1]->file != items[i]->file || items[i - 1]->begin + items[i - 1]->size <= items[i]->begin,
        items[i]->file, ": the pieces at bytes ", items[i - 1]->begin, " and ", items[i]->begin, " overlap");
}

}  // namespace

DcpFolder::DcpFolder(const std::filesystem::path& folder) : WeightFile(folder) {
  const auto file = MappedFile::open(folder / ".metadata");
  try {
    metadata_ = read_dcp_metadata({file->data(), file->size()});
    for (const auto& [name, tensor] : metadata_.tensors) {
      entries_.emplace(name, WeightEntry{tensor.dtype, tensor.shape});
      for (const DcpChunk& chunk : tensor.chunks) {
        map_file(chunk.item);
        const uint64_t wanted =
            static_cast<uint64_t>(checked_extent(chunk.sizes)) * c10::elementSize(tensor.dtype);
        require(chunk.item.size >= wanted, "tensor ", printable(name), ": a piece of ", chunk.item.size,
                " bytes for a chunk of ", wanted);
      }
    }
    for (const auto& [name, item] : metadata_.others) map_file(item);
    check_apart(items());
  } catch (const Error& error) {
    throw Error(text_of(folder.string(), ": ", error.what()), error.code(), error.where());
  }
}

std::vector<const DcpItem*> DcpFolder::items() const {
  std::vector<const DcpItem*> all;
  for (const auto& [name, tensor] : metadata_.tensors)
    for (const DcpChunk& chunk : tensor.chunks) all.push_back(&chunk.item);
  for (const auto& [name, item] : metadata_.others) all.push_back(&item);
  return all;
}

void DcpFolder::map_file(const DcpItem& item) {
  auto& file = files_[item.file];
  if (!file) file = MappedFile::open(path_ / item.file);
  require(item.begin <= file->size() && item.size <= file->size() - item.begin, item.file, " has ",
          file->size(), " bytes, a piece of it reaches from ", item.begin, " on for ", item.size,
          " (cut short?)");
}

ByteView DcpFolder::bytes_of(const DcpItem& item) const {
  const auto& file = files_.at(item.file);
  return ByteView{{file->data(), file->size()}, file}.part(item.begin, item.size);
}

StoredTensor DcpFolder::chunk_tensor(const DcpTensor& tensor, const DcpChunk& chunk) const {
  const TorchContents contents = read_torch(bytes_of(chunk.item));
  const auto found = contents.tensors.find("");
  require(found != contents.tensors.end() && contents.tensors.size() == 1 && contents.leaves.empty(),
          chunk.item.file, ": the piece at byte ", chunk.item.begin, " is not one tensor");
  const TensorLayout& layout = found->second.layout;
  require(layout.dtype == tensor.dtype && layout.shape == chunk.sizes, chunk.item.file,
          ": the piece at byte ", chunk.item.begin, " is ", layout.dtype, " ", at::IntArrayRef(layout.shape),
          ", .metadata says ", tensor.dtype, " ", at::IntArrayRef(chunk.sizes));
  const auto wanted = static_cast<uint64_t>(checked_extent(layout.shape)) * c10::elementSize(layout.dtype);
  require(found->second.storage.bytes.size() >= wanted, chunk.item.file, ": the piece at byte ",
          chunk.item.begin, " repeats elements; wanted each stored");
  return found->second;
}

at::Tensor DcpFolder::read(const std::string& name, RowRange rows) const {
  const DcpTensor& tensor = metadata_.tensors.at(name);
  std::vector<int64_t> shape = tensor.shape;
  if (!shape.empty()) shape[0] = rows.size();
  std::vector<const DcpChunk*> chunks;
  for (const DcpChunk& chunk : tensor.chunks)
    if (touches(chunk, rows)) chunks.push_back(&chunk);
  if (chunks.size() == 1) {
    const RowRange common = common_rows(*chunks[0], rows);
    at::Tensor part = chunk_tensor(tensor, *chunks[0]).rows(common);
    if (part.sizes() == at::IntArrayRef(shape)) return part;
  }
  at::Tensor out = at::empty(shape, at::TensorOptions(tensor.dtype));
  for (const DcpChunk* chunk : chunks) {
    const RowRange common = common_rows(*chunk, rows);
    target_of(out, *chunk, common, rows).copy_(chunk_tensor(tensor, *chunk).rows(common));
  }
  return out;
}

WeightLeaves DcpFolder::leaves() const {
  WeightLeaves all;
  for (const auto& [name, item] : metadata_.others) {
    const TorchContents contents = read_torch(bytes_of(item));
    require(contents.tensors.empty(), path_.string(), ": item ", printable(name), " holds tensors");
    for (const auto& [path, leaf] : contents.leaves)
      all.emplace(path.empty() ? name : name + "." + path, leaf);
  }
  return all;
}

std::vector<std::string> DcpFolder::damage() const {
  std::vector<std::string> found;
  for (const DcpItem* const item : items()) {
    const ByteView bytes = bytes_of(*item);
    if (!bytes.bytes.starts_with("PK")) continue;
    for (const std::string& line : ZipArchive(bytes.bytes).damage([this] { release_pages(); }))
      found.push_back(text_of(item->file, ": the piece at byte ", item->begin, ": ", line));
  }
  return found;
}

void DcpFolder::release_pages() const {
  for (const auto& [name, file] : files_) file->release_pages();
}

}  // namespace orrery
