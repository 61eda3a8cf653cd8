// The reader of .metadata: torch.distributed.checkpoint.metadata.Metadata as a pickle.
#include <array>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/dcp.h"
#include "ckpt/torch_names.h"

namespace orrery {
namespace {

constexpr size_t kMaxDims = 64;
constexpr size_t kMaxChunks = size_t{1} << 16;  // of a tensor: one for each rank
// Pickled, a chunk takes a hundred bytes; one list of them in many tensors takes as long to read as many
// lists.
constexpr size_t kFreeChunks = 1024, kBytesPerChunk = 16;
constexpr size_t kMaxName = 4096, kMaxFileName = 255;
// Checking chunks that are no runs of rows compares each with each.
constexpr size_t kMaxBlocks = 4096;

#define DCP "torch.distributed.checkpoint."
constexpr std::array<std::string_view, 14> kGlobals{DCP "metadata Metadata",
                                                    DCP "metadata TensorStorageMetadata",
                                                    DCP "metadata BytesStorageMetadata",
                                                    DCP "metadata ChunkStorageMetadata",
                                                    DCP "metadata TensorProperties",
                                                    DCP "metadata MetadataIndex",
                                                    DCP "metadata StorageMeta",
                                                    DCP "metadata _MEM_FORMAT_ENCODING",
                                                    DCP "filesystem _StorageInfo",
                                                    "collections OrderedDict",
                                                    "torch Size",
                                                    "torch.serialization _get_layout",
                                                    "pathlib PosixPath",
                                                    "pathlib._local PosixPath"};  // Python 3.13
constexpr std::string_view kTensor = DCP "metadata TensorStorageMetadata",
                           kBytes = DCP "metadata BytesStorageMetadata",
                           kChunk = DCP "metadata ChunkStorageMetadata",
                           kProperties = DCP "metadata TensorProperties",
                           kIndex = DCP "metadata MetadataIndex", kPlace = DCP "filesystem _StorageInfo";
#undef DCP

std::span<const std::string_view> dcp_globals() {
  static const std::vector<std::string_view> all = [] {
    std::vector<std::string_view> names(kGlobals.begin(), kGlobals.end());
    for (const std::string_view name : torch_globals())
      if (find_torch_dtype(name) != nullptr) names.push_back(name);
    return names;
  }();
  return all;
}

// The state of an object of this class.
const PickleNode& state_of(const PickleNode& node, std::string_view global) {
  require(node.is_call(global), "got ", name_of(node.kind), ", wanted ", global);
  require(node.state != nullptr, "an object of ", global, " without state");
  return *node.state;
}

const PickleNode& field(const PickleNode& state, std::string_view key) {
  const PickleNode* const found = find_item(state, key);
  require(found != nullptr, "no field ", printable(key));
  return *found;
}

// A tuple (dtype, layout, requires_grad, memory format, pin memory), or a dict of them.
at::ScalarType dtype_of(const PickleNode& properties) {
  const PickleNode& state = state_of(properties, kProperties);
  const bool is_tuple = state.is(PickleKind::tuple);
  require(!is_tuple || state.items.size() >= 2, "tensor properties without dtype and layout");
  const PickleNode& dtype = is_tuple ? *state.items[0] : field(state, "dtype");
  const PickleNode& layout = is_tuple ? *state.items[1] : field(state, "layout");
  const TorchDtype* const known = dtype.is(PickleKind::global) ? find_torch_dtype(dtype.text) : nullptr;
  require(known != nullptr, "no dtype in its properties");
  require(layout.is_call("torch.serialization _get_layout") && layout.arguments->items.size() == 1 &&
              layout.arguments->items[0]->is(PickleKind::text) &&
              layout.arguments->items[0]->text == "torch.strided",
          "is not dense");
  return known->dtype;
}

bool is_empty(const std::vector<int64_t>& sizes) {
  return std::find(sizes.begin(), sizes.end(), 0) != sizes.end();
}

DcpChunk chunk_of(const PickleNode& node, const std::vector<int64_t>& shape) {
  const PickleNode& state = state_of(node, kChunk);
  DcpChunk chunk{
      integers_of(field(state, "offsets"), kMaxDims), integers_of(field(state, "sizes"), kMaxDims), {}};
  require(chunk.offsets.size() == shape.size() && chunk.sizes.size() == shape.size(), "a chunk of ",
          chunk.sizes.size(), " dimensions, the tensor has ", shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool inside = chunk.offsets[i] >= 0 && chunk.sizes[i] >= 0 && chunk.offsets[i] <= shape[i] &&
                        chunk.sizes[i] <= shape[i] - chunk.offsets[i];
    require(inside, "a chunk reaches outside the tensor: offset ", chunk.offsets[i], ", size ",
            chunk.sizes[i], " of ", shape[i]);
  }
  return chunk;
}

DcpTensor tensor_of(const PickleNode& node) {
  const PickleNode& state = state_of(node, kTensor);
  DcpTensor tensor{dtype_of(field(state, "properties")), integers_of(field(state, "size"), kMaxDims), {}};
  TensorLayout layout{tensor.dtype, tensor.shape, row_major_strides(tensor.shape)};
  check_layout(layout, INT64_MAX);
  const auto& chunks = get_item(state, "chunks", PickleKind::list).items;
  require(chunks.size() <= kMaxChunks, chunks.size(), " chunks, at most ", kMaxChunks);
  for (const PickleNode* item : chunks) {
    DcpChunk chunk = chunk_of(*item, tensor.shape);
    if (!is_empty(chunk.sizes)) tensor.chunks.push_back(std::move(chunk));
  }
  return tensor;
}

size_t num_chunks(const PickleNode& tensor) {
  return get_item(state_of(tensor, kTensor), "chunks", PickleKind::list).items.size();
}

bool overlap(const DcpChunk& a, const DcpChunk& b) {
  for (size_t i = 0; i < a.sizes.size(); ++i)
    if (a.offsets[i] + a.sizes[i] <= b.offsets[i] || b.offsets[i] + b.sizes[i] <= a.offsets[i]) return false;
  return true;
}

bool is_run_of_rows(const DcpChunk& chunk, const std::vector<int64_t>& shape) {
  return !shape.empty() && std::equal(chunk.sizes.begin() + 1, chunk.sizes.end(), shape.begin() + 1);
}

void check_no_overlap(const DcpTensor& tensor) {
  const auto& chunks = tensor.chunks;
  const bool all_rows = std::all_of(chunks.begin(), chunks.end(),
                                    [&](const DcpChunk& c) { return is_run_of_rows(c, tensor.shape); });
  require(all_rows || chunks.size() <= kMaxBlocks, "more than ", kMaxBlocks,
          " chunks that are no runs of rows");
  for (size_t i = 1; i < chunks.size(); ++i)  // runs of rows are in order: neighbours suffice
    for (size_t j = all_rows ? i - 1 : 0; j < i; ++j)
      require(!overlap(chunks[i], chunks[j]), "two chunks overlap");
}

// Chunks inside the tensor that do not overlap cover it if they have as many elements.
void check_cover(DcpTensor& tensor) {
  std::sort(tensor.chunks.begin(), tensor.chunks.end(),
            [](const DcpChunk& a, const DcpChunk& b) { return a.offsets < b.offsets; });
  check_no_overlap(tensor);
  int64_t covered = 0;
  for (const DcpChunk& chunk : tensor.chunks) covered += checked_extent(chunk.sizes);
  const int64_t wanted = is_empty(tensor.shape) ? 0 : checked_extent(tensor.shape);
  require(covered == wanted, "the chunks leave a hole: they cover ", covered, " of ", wanted, " elements");
}

DcpItem item_of(const PickleNode& node) {
  const PickleNode& state = state_of(node, kPlace);
  const std::string_view file = get_item(state, "relative_path", PickleKind::text).text;
  const bool plain = !file.empty() && file.size() <= kMaxFileName &&
                     file.find_first_of(std::string_view("/\\\0", 3)) == file.npos && file.front() != '.';
  require(plain, printable(file), " is not a file of this folder");
  const int64_t begin = get_item(state, "offset", PickleKind::integer).integer;
  const int64_t size = get_item(state, "length", PickleKind::integer).integer;
  require(begin >= 0 && size >= 0, "a piece at byte ", begin, " of ", size, " bytes");
  const PickleNode* const transforms = find_item(state, "transform_descriptors");
  require(transforms == nullptr || transforms->is(PickleKind::none) || transforms->items.empty(),
          "a piece that was compressed or otherwise transformed when it was written");
  return {std::string(file), static_cast<uint64_t>(begin), static_cast<uint64_t>(size)};
}

struct Place {
  std::string_view name;         // in the pickle
  std::vector<int64_t> offsets;  // none for what is no tensor
  auto operator<=>(const Place&) const = default;
};

Place place_of(const PickleNode& index) {
  const PickleNode& state = state_of(index, kIndex);
  Place place{get_item(state, "fqn", PickleKind::text).text, {}};
  require(place.name.size() <= kMaxName, "a name of ", place.name.size(), " characters, at most ", kMaxName);
  const PickleNode* const offset = find_item(state, "offset");
  if (offset != nullptr && !offset->is(PickleKind::none)) place.offsets = integers_of(*offset, kMaxDims);
  return place;
}

std::map<Place, DcpItem> places(const PickleNode& storage_data) {
  std::map<Place, DcpItem> found;
  for (size_t i = 0; i < storage_data.items.size(); i += 2) {
    const Place place = place_of(*storage_data.items[i]);
    try {
      require(found.emplace(place, item_of(*storage_data.items[i + 1])).second, "is stored twice");
    } catch (const Error& error) {
      fail("item ", printable(place.name), ": ", error.what());
    }
  }
  return found;
}

DcpTensor stored_tensor(const std::string& name, const PickleNode& node,
                        const std::map<Place, DcpItem>& places) {
  DcpTensor tensor = tensor_of(node);
  check_cover(tensor);
  for (DcpChunk& chunk : tensor.chunks) {
    const auto found = places.find({name, chunk.offsets});
    require(found != places.end(), "the chunk at ", at::IntArrayRef(chunk.offsets), " is stored nowhere");
    chunk.item = found->second;
  }
  return tensor;
}

}  // namespace

DcpMetadata read_dcp_metadata(std::string_view bytes) {
  const Pickle pickle(bytes, dcp_globals());
  require(pickle.size() == bytes.size(), "trailing bytes behind the pickle");
  const PickleNode& state = state_of(pickle.root(), kGlobals[0]);
  const PickleNode& items = get_item(state, "state_dict_metadata", PickleKind::dict);
  const auto places = orrery::places(get_item(state, "storage_data", PickleKind::dict));
  DcpMetadata metadata;
  size_t chunks_left = kFreeChunks + bytes.size() / kBytesPerChunk;
  for (size_t i = 0; i < items.items.size(); i += 2) {
    require(items.items[i]->is(PickleKind::text), "an item's name is ", name_of(items.items[i]->kind));
    const std::string name(items.items[i]->text);
    try {
      bool is_new = false;
      if (items.items[i + 1]->is_call(kBytes)) {
        const auto found = places.find({name, {}});
        require(found != places.end(), "is stored nowhere");
        is_new = metadata.others.emplace(name, found->second).second;
      } else {
        const size_t chunks = num_chunks(*items.items[i + 1]);
        require(chunks <= chunks_left,
                "shares its chunks with so many others that there is no end (a bomb?)");
        chunks_left -= chunks;
        is_new = metadata.tensors.emplace(name, stored_tensor(name, *items.items[i + 1], places)).second;
      }
      require(is_new && metadata.others.count(name) + metadata.tensors.count(name) == 1, "comes twice");
    } catch (const Error& error) {
      fail("item ", printable(name), ": ", error.what());
    }
  }
  return metadata;
}

}  // namespace orrery
