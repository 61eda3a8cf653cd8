#include "ckpt/torch_contents.h"

#include <c10/util/accumulate.h>

#include <cstring>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/torch_names.h"
#include "ckpt/zip_archive.h"

namespace orrery {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxValues = size_t{1} << 20;      // tensors and leaves of a file
constexpr size_t kMaxTextBytes = size_t{64} << 20;  // of their names, and of leaves that are text
// Tensors may share a storage (tied weights) or repeat its elements (expanded ones), and are whole when read.
constexpr uint64_t kFreeBytes = uint64_t{64} << 20, kMaxRepeat = 16;
constexpr int64_t kLegacyVersion = 1001;
// 0x1950a86a20f9469cfc6c, the first pickle of a legacy file; little-endian.
constexpr std::string_view kLegacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

nlohmann::json leaf_of(const PickleNode& node) {
  switch (node.kind) {
    case PickleKind::none:
      return nullptr;
    case PickleKind::boolean:
      return node.integer != 0;
    case PickleKind::integer:
      return node.integer;
    case PickleKind::real:
      return node.real;
    case PickleKind::text:
    case PickleKind::global:
      return std::string(node.text);
    case PickleKind::bytes:
    case PickleKind::large_integer:
      return nlohmann::json::binary({node.text.begin(), node.text.end()});
    case PickleKind::object:
      if (node.is_call("torch Size")) return integers_of(node, 64);
      if (node.is_call("torch device") || node.is_call("_io BytesIO"))
        return std::string(node.callable->text);
      fail("an object made by ", printable(node.callable->text), ", which is no tensor");
    default:
      fail(name_of(node.kind), " where a value is wanted");
  }
}

// Walks the tree of a pickle into names. Shared containers appear under each path; `budget` bounds how many
// values that may give.
class Walk {
 public:
  Walk(TensorNodes& tensors, size_t budget, uint64_t file_bytes)
      : tensors_(tensors), budget_(budget), file_bytes_(file_bytes) {}

  void visit(const PickleNode& node, const std::string& path, int depth) {
    charge(path.size() + node.text.size());
    require(budget_-- > 0, "the pickle repeats its containers so often that it has no end (a bomb?)");
    const bool is_dict = node.is(PickleKind::dict);
    const bool is_container = is_dict || node.is(PickleKind::list) || node.is(PickleKind::tuple);
    if (is_container && !node.items.empty()) {
      require(depth < kMaxDepth, "the pickle is nested deeper than ", kMaxDepth,
              " levels, or contains itself");
      visit_items(node, is_dict, path, depth);
    } else if (TensorNodes::is_tensor(node)) {
      add_tensor(node, path);
    } else {
      const auto leaf = !is_container ? leaf_of(node)
                        : is_dict     ? nlohmann::json::object()
                                      : nlohmann::json::array();
      require(!found.tensors.count(path) && found.leaves.emplace(path, leaf).second, "two values at ",
              printable(path));
    }
  }

  TorchContents found;

 private:
  // Values and texts may be shared in the pickle, and are copied here.
  void charge(size_t text_bytes) {
    require(found.tensors.size() + found.leaves.size() < kMaxValues, "the pickle has more than ", kMaxValues,
            " values");
    text_bytes_ += text_bytes;
    require(text_bytes_ <= kMaxTextBytes, "the names and texts of the pickle have more than ", kMaxTextBytes,
            " bytes");
  }

  void visit_items(const PickleNode& node, bool is_dict, const std::string& path, int depth) {
    const std::string prefix = depth == 0 ? "" : path + ".";
    const size_t step = is_dict ? 2 : 1;
    for (size_t i = 0; i < node.items.size(); i += step) {
      const std::string key = is_dict ? key_of(*node.items[i]) : std::to_string(i);
      require(prefix.size() + key.size() <= kMaxPath, "a path of more than ", kMaxPath, " characters");
      visit(*node.items[i + step - 1], prefix + key, depth + 1);
    }
  }

  static std::string key_of(const PickleNode& key) {
    if (key.is(PickleKind::integer)) return std::to_string(key.integer);
    require(key.is(PickleKind::text), "a dict's key is ", name_of(key.kind), ", wanted text or an integer");
    return std::string(key.text);
  }

  void add_tensor(const PickleNode& node, const std::string& path) {
    try {
      const StoredTensor tensor = tensors_.tensor(node);
      charge_tensor(tensor.layout);
      require(!found.leaves.count(path) && found.tensors.emplace(path, tensor).second,
              "two values at this path");
    } catch (const Error& error) {
      fail("tensor ", printable(path), ": ", error.what());
    }
  }

  void charge_tensor(const TensorLayout& layout) {
    tensor_bytes_ +=
        static_cast<uint64_t>(c10::multiply_integers(layout.shape)) * c10::elementSize(layout.dtype);
    require(tensor_bytes_ <= kFreeBytes + kMaxRepeat * file_bytes_,
            "the tensors repeat their storages without measure: so far they have ", tensor_bytes_,
            " bytes, the file has ", file_bytes_, " (a bomb?)");
  }

  static constexpr size_t kMaxPath = 4096;
  TensorNodes& tensors_;
  size_t budget_, text_bytes_ = 0;
  uint64_t file_bytes_, tensor_bytes_ = 0;
};

// A value costs at least a byte of the pickle; four times that leaves room for honest sharing.
TorchContents walk(const Pickle& pickle, TensorNodes& tensors, const ByteView& file) {
  Walk walk(tensors, 4 * pickle.size() + 1024, file.bytes.size());
  walk.visit(pickle.root(), "", 0);
  return std::move(walk.found);
}

std::pair<ByteView, at::ScalarType> load_storage(const ByteView& file);

// "NAME/", the folder of the one data.pkl in an archive.
std::string folder_of(const ZipArchive& archive) {
  constexpr std::string_view file = "data.pkl";
  std::string folder;
  for (const auto& [name, entry] : archive.entries())
    if (name.ends_with(file) && name.find('/') == name.size() - file.size() - 1) {
      require(folder.empty(), "zip: two entries */data.pkl");
      folder = name.substr(0, name.size() - file.size());
    }
  require(!folder.empty(), "zip: no entry */data.pkl (not saved by torch.save?)");
  require(!archive.entries().count(folder + "constants.pkl"), "a TorchScript archive; wanted torch.save's");
  const auto order = archive.entries().find(folder + "byteorder");
  require(order == archive.entries().end() || order->second.contents == "little",
          "saved on a big-endian machine: save it again on a little-endian one");
  return folder;
}

TorchContents read_zip(const ByteView& file) {
  const ZipArchive archive(file.bytes);
  const std::string folder = folder_of(archive);
  const std::string_view code = archive.entry(folder + "data.pkl");
  const Pickle pickle(code, torch_globals());
  require(pickle.size() == code.size(), code.size() - pickle.size(), " trailing bytes behind the pickle");
  const auto find = [&](const StorageId& id) {
    const std::string_view bytes = archive.entry(folder + "data/" + id.key);
    require(bytes.size() == id.bytes, "storage ", id.key, " has ", bytes.size(), " bytes, its ", id.elements,
            " elements of ", c10::toString(id.dtype), " want ", id.bytes);
    return ByteView{bytes, file.owner};
  };
  TensorNodes tensors(file.owner, find, load_storage);
  return walk(pickle, tensors, file);
}

// A legacy file: four pickles (magic number, version, facts on the machine, the object), one with the list of
// storage keys, then the storages in that order, each with its number of elements in front.
class LegacyFile {
 public:
  explicit LegacyFile(const ByteView& file) : file_(file) {
    // Each goes before the next one is read.
    require(is_magic(next().root()), "a pickle without the magic number of torch.save");
    require(is_version(next().root()), "another version of torch.save's legacy format than ", kLegacyVersion);
    require(get_item(next().root(), "little_endian", PickleKind::boolean).integer == 1,
            "saved on a big-endian machine: save it again on a little-endian one");
    object_ = std::make_unique<Pickle>(next());
    read_storages(next().root());
    require(at_ == file_.bytes.size(), file_.bytes.size() - at_, " trailing bytes behind the last storage");
  }

  const Pickle& object() const { return *object_; }
  ByteView storage(const StorageId& id) const {
    const auto found = storages_.find(id.key);
    require(found != storages_.end(), "storage ", id.key, " is not in the file");
    return found->second;
  }

 private:
  static bool is_magic(const PickleNode& node) {
    return node.is(PickleKind::large_integer) && node.text == kLegacyMagic;
  }
  static bool is_version(const PickleNode& node) {
    return node.is(PickleKind::integer) && node.integer == kLegacyVersion;
  }
  Pickle next() {
    Pickle pickle(file_.bytes.substr(at_), torch_globals());
    at_ += pickle.size();
    return pickle;
  }

  std::map<std::string, StorageId> named_storages() const {
    std::map<std::string, StorageId> named;
    for (const PickleNode& node : object_->nodes()) {
      if (!node.is(PickleKind::persistent)) continue;
      const StorageId id = storage_id(node);
      const auto [known, is_new] = named.emplace(id.key, id);
      require(is_new || (known->second.dtype == id.dtype && known->second.elements == id.elements),
              "storage ", id.key, " has two sizes or dtypes");
    }
    return named;
  }

  void read_storages(const PickleNode& keys) {
    require(keys.is(PickleKind::list), "the storage keys are ", name_of(keys.kind), ", wanted a list");
    const auto named = named_storages();
    for (const PickleNode* key : keys.items) {
      require(key->is(PickleKind::text), "a storage key is ", name_of(key->kind), ", wanted text");
      const auto found = named.find(std::string(key->text));
      require(found != named.end(), "storage ", printable(key->text), " belongs to no tensor");
      read_storage(found->second);
    }
  }

  void read_storage(const StorageId& id) {
    const std::string_view rest = file_.bytes.substr(at_);
    int64_t elements = 0;
    require(rest.size() >= sizeof elements, "storage ", id.key, " is cut short");
    std::memcpy(&elements, rest.data(), sizeof elements);
    require(elements == id.elements, "storage ", id.key, " has ", elements, " elements, its tensors say ",
            id.elements);
    require(id.bytes <= rest.size() - sizeof elements, "storage ", id.key, " is cut short: it wants ",
            id.bytes, " bytes, ", rest.size() - sizeof elements, " are left");
    require(storages_.emplace(id.key, file_.part(at_ + sizeof elements, id.bytes)).second, "storage ", id.key,
            " comes twice");
    at_ += sizeof elements + id.bytes;
  }

  const ByteView file_;
  size_t at_ = 0;
  std::unique_ptr<Pickle> object_;
  std::map<std::string, ByteView> storages_;
};

ByteView no_storage(const StorageId& id) {
  fail("a plain pickle names the storage ", id.key, ", which only files of torch.save hold");
}

// A storage alone in a legacy file, as pickle.dump nests it into a pickle of tensors.
std::pair<ByteView, at::ScalarType> load_storage(const ByteView& file) {
  const LegacyFile legacy(file);
  const StorageId id = storage_id(legacy.object().root());
  return {legacy.storage(id), id.dtype};
}

bool is_legacy(std::string_view bytes) {
  return bytes.size() >= 14 && bytes[0] == '\x80' && bytes.substr(2, 2) == std::string_view("\x8a\x0a") &&
         bytes.substr(4, kLegacyMagic.size()) == kLegacyMagic;
}

}  // namespace

TorchContents read_torch(const ByteView& file) {
  if (file.bytes.starts_with("PK")) return read_zip(file);
  if (is_legacy(file.bytes)) {
    const LegacyFile legacy(file);
    TensorNodes tensors(
        file.owner, [&](const StorageId& id) { return legacy.storage(id); }, load_storage);
    return walk(legacy.object(), tensors, file);
  }
  const Pickle pickle(file.bytes, torch_globals());
  require(pickle.size() == file.bytes.size(), file.bytes.size() - pickle.size(),
          " trailing bytes behind the pickle");
  TensorNodes tensors(file.owner, no_storage, load_storage);
  return walk(pickle, tensors, file);
}

}  // namespace orrery
