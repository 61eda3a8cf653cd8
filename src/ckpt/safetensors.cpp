#include "ckpt/safetensors.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/byte_view.h"
#include "ckpt/mapped_file.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

constexpr size_t kMaxDims = 64;  // ATen's limit for most operators

// From narrow to wide, in the order of the reference's Dtype: files are laid out in the reverse of it.
constexpr std::array<SafetensorsDtype, 22> kDtypes{{
    {"BOOL", 8, at::kBool},
    {"F4", 4, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},
    {"U8", 8, at::kByte},
    {"I8", 8, at::kChar},
    {"F8_E5M2", 8, at::kFloat8_e5m2},
    {"F8_E4M3", 8, at::kFloat8_e4m3fn},
    {"F8_E5M2FNUZ", 8, at::kFloat8_e5m2fnuz},
    {"F8_E4M3FNUZ", 8, at::kFloat8_e4m3fnuz},
    {"F8_E8M0", 8, at::kFloat8_e8m0fnu},
    {"I16", 16, at::kShort},
    {"U16", 16, at::kUInt16},
    {"F16", 16, at::kHalf},
    {"BF16", 16, at::kBFloat16},
    {"I32", 32, at::kInt},
    {"U32", 32, at::kUInt32},
    {"F32", 32, at::kFloat},
    {"C64", 64, at::kComplexFloat},
    {"F64", 64, at::kDouble},
    {"I64", 64, at::kLong},
    {"U64", 64, at::kUInt64},
}};

const SafetensorsDtype* find_dtype(std::string_view name) {
  const auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.name == name; });
  return found == kDtypes.end() ? nullptr : &*found;
}

// Collects the header from the JSON parser's events. Nothing but the three levels of the format is accepted,
// so nesting and array lengths are bounded before anything is stored.
class HeaderParser final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafetensorsEntry> entries;

  bool start_object(size_t) override {
    if (state_ == State::start) return enter(State::top);
    if (state_ == State::top) {
      if (key_ == "__metadata__") return enter(State::metadata);
      dtype_ = nullptr, shape_.reset(), offsets_.reset();
      tensor_ = key_;
      return enter(State::entry);
    }
    return unexpected("an object");
  }

  bool key(std::string& name) override {
    if (state_ == State::top)
      require(top_keys_.insert(name).second, "duplicate key ", printable(name));
    else if (state_ == State::metadata)
      require(metadata.count(name) == 0, "duplicate metadata key ", printable(name));
    else
      require(name == "dtype" || name == "shape" || name == "data_offsets", "tensor ", printable(tensor_),
              ": unknown field ", printable(name));
    key_ = std::move(name);
    return true;
  }

  bool end_object() override {
    if (state_ == State::entry) finish_entry();
    state_ = state_ == State::top ? State::done : State::top;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::entry || key_ == "dtype") return unexpected("an array");
    auto& list = key_ == "shape" ? shape_ : offsets_;
    require(!list, "tensor ", printable(tensor_), ": duplicate field ", key_);
    list.emplace();
    return enter(State::list);
  }

  bool end_array() override { return enter(State::entry); }

  bool number_unsigned(uint64_t value) override {
    if (state_ != State::list) return unexpected("a number");
    auto& list = key_ == "shape" ? *shape_ : *offsets_;
    require(list.size() < (key_ == "shape" ? kMaxDims : 2), "tensor ", printable(tensor_), ": ", key_,
            " is too long");
    list.push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (state_ == State::metadata) {
      metadata.emplace(std::move(key_), std::move(value));
      return true;
    }
    if (state_ != State::entry || key_ != "dtype") return unexpected("a string");
    require(dtype_ == nullptr, "tensor ", printable(tensor_), ": duplicate field dtype");
    dtype_ = find_dtype(value);
    require(dtype_ != nullptr, "tensor ", printable(tensor_), ": unknown dtype ", printable(value));
    return true;
  }

  bool null() override {  // "__metadata__": null stands for no metadata in the reference
    return state_ == State::top && key_ == "__metadata__" ? true : unexpected("null");
  }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(int64_t) override { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) override {
    return unexpected("a number that is not an integer");
  }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& error) override {
    const std::string what = error.what();
    fail("header is not valid JSON at byte ", position, ": ",
         printable(what.substr(std::min(what.find("] ") + 2, what.size()))));
  }

 private:
  enum class State { start, top, metadata, entry, list, done };

  bool enter(State state) {
    state_ = state;
    return true;
  }

  [[noreturn]] bool unexpected(const char* what) const {
    switch (state_) {
      case State::start:
      case State::done:
        fail("header is ", what, ", wanted a JSON object");
      case State::top:
        fail("entry ", printable(key_), " is ", what, ", wanted an object");
      case State::metadata:
        fail("metadata value of ", printable(key_), " is ", what, ", wanted a string");
      default:
        fail("tensor ", printable(tensor_), ": ", key_, " holds ", what);
    }
  }

  void finish_entry() {
    require(dtype_ != nullptr, "tensor ", printable(tensor_), ": no dtype");
    require(shape_.has_value(), "tensor ", printable(tensor_), ": no shape");
    require(offsets_.has_value() && offsets_->size() == 2, "tensor ", printable(tensor_),
            ": no pair of data_offsets");
    entries.emplace(tensor_, SafetensorsEntry{dtype_, checked_shape(), (*offsets_)[0], (*offsets_)[1]});
    check_size(entries.at(tensor_));
  }

  // Zeros count as one here: the strides of an empty tensor must not overflow either.
  std::vector<int64_t> checked_shape() const {
    int64_t extent = 1;
    std::vector<int64_t> shape;
    for (const uint64_t size : *shape_) {
      require(size <= static_cast<uint64_t>(INT64_MAX), "tensor ", printable(tensor_), ": dimension ", size,
              " overflows");
      shape.push_back(static_cast<int64_t>(size));
      require(!__builtin_mul_overflow(extent, std::max<int64_t>(shape.back(), 1), &extent), "tensor ",
              printable(tensor_), ": the number of elements overflows 64 bits");
    }
    return shape;
  }

  void check_size(const SafetensorsEntry& entry) const {
    uint64_t bits = static_cast<uint64_t>(entry.dtype->bits);
    for (const int64_t size : entry.shape)
      require(!__builtin_mul_overflow(bits, static_cast<uint64_t>(size), &bits), "tensor ",
              printable(tensor_), ": the number of bits overflows 64 bits");
    require(bits % 8 == 0, "tensor ", printable(tensor_), ": ", bits, " bits are no whole number of bytes");
    require(entry.begin <= entry.end, "tensor ", printable(tensor_), ": data_offsets begin ", entry.begin,
            " after end ", entry.end);
    require(entry.end - entry.begin == bits / 8, "tensor ", printable(tensor_), ": data_offsets span ",
            entry.end - entry.begin, " bytes, shape and dtype ", entry.dtype->name, " want ", bits / 8);
  }

  State state_ = State::start;
  std::string key_, tensor_;
  std::unordered_set<std::string> top_keys_;
  const SafetensorsDtype* dtype_ = nullptr;
  std::optional<std::vector<uint64_t>> shape_, offsets_;
};

// The tensors, in order of offset, must tile the data section exactly.
void check_layout(const std::map<std::string, SafetensorsEntry>& entries, uint64_t data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t next = 0;
  for (const auto& [name, entry] : order) {
    require(entry->begin >= next, "tensor ", printable(*name), " overlaps another: it begins at byte ",
            entry->begin, ", the one before ends at ", next);
    require(entry->begin == next, "hole: bytes ", next, " to ", entry->begin, " before tensor ",
            printable(*name), " belong to no tensor");
    next = entry->end;
  }
  require(next <= data_bytes, "file is cut short: tensors need ", next, " bytes of data, it has ",
          data_bytes);
  require(next == data_bytes, data_bytes - next, " trailing bytes after the last tensor");
}

std::string_view header_of(const MappedFile& file) {
  require(file.size() >= 8, "file has ", file.size(), " bytes, too short for a header");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  require(length <= kMaxSafetensorsHeader, "header of ", length, " bytes is above the limit of ",
          kMaxSafetensorsHeader, " (not a safetensors file?)");
  require(length <= file.size() - 8, "header of ", length, " bytes reaches beyond the file of ", file.size(),
          " bytes");
  const std::string_view header(file.data() + 8, length);
  require(header.starts_with('{'), "header does not begin with '{'");
  // The JSON parser takes a zero byte for the end of its input and would ignore what follows.
  require(header.find('\0') == header.npos, "header holds a zero byte");
  return header;
}

}  // namespace

const SafetensorsDtype* find_safetensors_dtype(at::ScalarType type) {
  const auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.scalar == type; });
  return found == kDtypes.end() ? nullptr : &*found;
}

Safetensors::Safetensors(const std::filesystem::path& path) : file_(MappedFile::open(path)) {
  try {
    const std::string_view header = header_of(*file_);
    HeaderParser parser;
    const bool parsed = nlohmann::json::sax_parse(header.begin(), header.end(), &parser);
    require(parsed, "header is not valid JSON");
    data_begin_ = 8 + header.size();
    check_layout(parser.entries, file_->size() - data_begin_);
    metadata_ = std::move(parser.metadata);
    entries_ = std::move(parser.entries);
  } catch (const Error& error) {
    throw Error(text_of(path.string(), ": ", error.what()), error.code(), error.where());
  }
}

const std::filesystem::path& Safetensors::path() const {
  return file_->path();
}

const SafetensorsEntry& Safetensors::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), path().string(), ": no tensor ", printable(name));
  return found->second;
}

std::string_view Safetensors::bytes(const std::string& name) const {
  const SafetensorsEntry& e = entry(name);
  return {file_->data() + data_begin_ + e.begin, e.end - e.begin};
}

at::Tensor Safetensors::tensor(const std::string& name) const {
  const SafetensorsEntry& e = entry(name);
  return rows(name, {0, e.shape.empty() ? 1 : e.shape[0]});
}

at::Tensor Safetensors::rows(const std::string& name, RowRange rows) const {
  const SafetensorsEntry& e = entry(name);
  require(e.dtype->scalar.has_value(), path().string(), ": tensor ", printable(name), ": dtype ",
          e.dtype->name, " cannot be computed with");
  std::vector<int64_t> shape = e.shape;
  uint64_t begin = e.begin, size = e.end - e.begin;
  if (!shape.empty() && shape[0] > 0) {
    const uint64_t row_bytes = size / static_cast<uint64_t>(shape[0]);
    begin += row_bytes * static_cast<uint64_t>(rows.begin);
    size = row_bytes * static_cast<uint64_t>(rows.size());
    shape[0] = rows.size();
  }
  const ByteView storage{{file_->data() + data_begin_ + begin, size}, file_};
  try {
    return tensor_of(storage, {*e.dtype->scalar, shape, row_major_strides(shape)});
  } catch (const Error& error) {
    throw Error(text_of(path().string(), ": tensor ", printable(name), ": ", error.what()));
  }
}

void Safetensors::release_pages() const {
  file_->release_pages();
}

std::map<std::string, at::Tensor> Safetensors::tensors() const {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, unused] : entries_) all.emplace(name, tensor(name));
  return all;
}

}  // namespace orrery
