#include "ckpt/stored_tensor.h"

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/torch_names.h"

namespace orrery {
namespace {

constexpr size_t kMaxDims = 64;

// Argument i of a call; Error: there are fewer, or it is of another kind.
const PickleNode& argument(const PickleNode& call, size_t i) {
  require(i < call.arguments->items.size(), "a call of ", printable(call.callable->text), " with ",
          call.arguments->items.size(), " arguments");
  return *call.arguments->items[i];
}
const PickleNode& argument(const PickleNode& call, size_t i, PickleKind kind) {
  const PickleNode& node = argument(call, i);
  require(node.is(kind), "argument ", i, " of ", printable(call.callable->text), " is ", name_of(node.kind),
          ", wanted ", name_of(kind));
  return node;
}

bool is_numpy_call(const PickleNode& node, std::string_view name) {
  return node.is(PickleKind::object) && node.callable->text.starts_with("numpy") &&
         node.callable->text.ends_with(name);
}
bool is_parameter(const PickleNode& node) {
  return node.is_call("torch._utils _rebuild_parameter") ||
         node.is_call("torch._utils _rebuild_parameter_with_state");
}
bool is_torch_tensor(const PickleNode& node) {
  return node.is_call("torch._utils _rebuild_tensor_v2") || node.is_call("torch._utils _rebuild_tensor_v3") ||
         node.is_call("torch._utils _rebuild_tensor");
}

// Swaps the bytes of each number in place; a complex one is two numbers.
void swap_bytes(at::Tensor& tensor) {
  size_t size = tensor.element_size();
  if (at::isComplexType(tensor.scalar_type())) size /= 2;
  char* const data = static_cast<char*>(tensor.mutable_data_ptr());
  for (size_t i = 0; i < tensor.nbytes(); i += size) std::reverse(data + i, data + i + size);
}

struct NumpyDtype {
  at::ScalarType dtype;
  bool big_endian;
};

// numpy.dtype(code, align, copy) with the state (version, byte order, subdtype, names, fields, ...).
NumpyDtype numpy_dtype_of(const PickleNode& node) {
  require(node.is_call("numpy dtype"), "a numpy array's dtype is ", name_of(node.kind));
  const std::string_view code = argument(node, 0, PickleKind::text).text;
  const auto dtype = numpy_dtype(code);
  require(dtype.has_value(), "numpy dtype ", printable(code), " is none of numbers or booleans");
  require(node.state != nullptr && node.state->is(PickleKind::tuple) && node.state->items.size() >= 5 &&
              node.state->items[1]->is(PickleKind::text),
          "a numpy dtype without its state");
  for (size_t i = 2; i < 5; ++i)
    require(node.state->items[i]->is(PickleKind::none), "a numpy dtype with fields");
  const std::string_view order = node.state->items[1]->text;
  require(order == "<" || order == ">" || order == "|" || order == "=", "numpy byte order ",
          printable(order));
  return {*dtype, order == ">"};
}

std::vector<int64_t> column_major_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = 1; i < shape.size(); ++i) strides[i] = strides[i - 1] * std::max<int64_t>(shape[i - 1], 1);
  return strides;
}

StoredTensor packed_array(const ByteView& bytes, const NumpyDtype& dtype, const std::vector<int64_t>& shape,
                          bool fortran) {
  const int64_t extent = checked_extent(shape);
  const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  int64_t wanted = 0;
  require(!__builtin_mul_overflow(empty ? 0 : extent, static_cast<int64_t>(c10::elementSize(dtype.dtype)),
                                  &wanted),
          "the number of bytes overflows 64 bits");
  require(bytes.bytes.size() == static_cast<uint64_t>(wanted), "a numpy array of ", bytes.bytes.size(),
          " bytes, shape and dtype want ", wanted);
  return {bytes,
          {dtype.dtype, shape, fortran ? column_major_strides(shape) : row_major_strides(shape)},
          dtype.big_endian};
}

// UTF-8 text of code points below 256 to one byte each.
std::string latin1(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      out += static_cast<char>(lead);
      continue;
    }
    const bool pair = (lead == 0xC2 || lead == 0xC3) && i + 1 < text.size() && (text[i + 1] & 0xC0) == 0x80;
    require(pair, "bytes encoded as text that is not latin-1");
    out += static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3F));
  }
  return out;
}

}  // namespace

at::Tensor StoredTensor::rows(RowRange rows) const {
  TensorLayout part = layout;
  if (!part.shape.empty()) {
    if (rows.size() > 0) part.offset += part.strides[0] * rows.begin;
    part.shape[0] = rows.size();
  }
  at::Tensor tensor = tensor_of(storage, part);
  if (!big_endian || tensor.numel() == 0) return tensor;
  at::Tensor swapped = tensor.clone();
  swap_bytes(swapped);
  return swapped;
}

StorageId storage_id(const PickleNode& persistent) {
  require(persistent.is(PickleKind::persistent), "a tensor's storage is ", name_of(persistent.kind));
  const auto& parts = persistent.arguments->items;
  require(parts.size() == 5 || parts.size() == 6, "a persistent id of ", parts.size(),
          " parts, wanted 5 or 6");
  require(parts[0]->is(PickleKind::text) && parts[0]->text == "storage", "a persistent id of no storage");
  require(parts[1]->is(PickleKind::global), "the class of a storage is ", name_of(parts[1]->kind));
  const std::string_view global = parts[1]->text;
  const TorchDtype* const typed = find_torch_storage(global);
  require(typed != nullptr || global == kUntypedStorage, printable(global), " is no class of storages");
  require(parts[2]->is(PickleKind::text), "a storage key is ", name_of(parts[2]->kind), ", wanted text");
  const std::string_view key = parts[2]->text;
  const bool plain = !key.empty() && key.size() <= 64 && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
  require(plain, "storage key ", printable(key), " has other characters than letters, digits and _");
  require(parts[4]->is(PickleKind::integer) && parts[4]->integer >= 0, "storage ", key,
          ": no number of elements");
  require(parts.size() == 5 || parts[5]->is(PickleKind::none), "storage ", key,
          " is a view of another (written by a very old PyTorch): save it again");
  StorageId id{typed != nullptr ? typed->dtype : at::kByte, std::string(key), parts[4]->integer, 0};
  require(!__builtin_mul_overflow(static_cast<uint64_t>(id.elements), c10::elementSize(id.dtype), &id.bytes),
          "storage ", key, ": ", id.elements, " elements overflow 64 bits");
  return id;
}

bool TensorNodes::is_tensor(const PickleNode& node) {
  return is_torch_tensor(node) || is_parameter(node) || is_numpy_call(node, " _reconstruct") ||
         is_numpy_call(node, " _frombuffer") || is_numpy_call(node, " scalar");
}

StoredTensor TensorNodes::tensor(const PickleNode& node) {
  if (is_numpy_call(node, " scalar")) return numpy_scalar(node);
  if (is_numpy_call(node, "")) return numpy_array(node);
  const PickleNode& rebuilt = is_parameter(node) ? argument(node, 0, PickleKind::object) : node;
  require(is_torch_tensor(rebuilt), "a parameter holds no tensor");
  return torch_tensor(rebuilt);
}

// (storage, offset, size, stride[, requires_grad, hooks[, dtype][, metadata]])
StoredTensor TensorNodes::torch_tensor(const PickleNode& node) {
  const bool has_dtype = node.is_call("torch._utils _rebuild_tensor_v3");
  const Storage held = storage(argument(node, 0));
  StoredTensor out{
      held.bytes,
      {held.dtype, integers_of(argument(node, 2), kMaxDims), integers_of(argument(node, 3), kMaxDims),
       argument(node, 1, PickleKind::integer).integer}};
  if (has_dtype) {
    const TorchDtype* const dtype = find_torch_dtype(argument(node, 6, PickleKind::global).text);
    require(dtype != nullptr && held.untyped, "a tensor's dtype is ", printable(argument(node, 6).text));
    out.layout.dtype = dtype->dtype;
  }
  const size_t metadata = has_dtype ? 7 : 6;
  if (node.arguments->items.size() > metadata) {
    const PickleNode& marks = argument(node, metadata);
    require(marks.is(PickleKind::none) || (marks.is(PickleKind::dict) && marks.items.empty()),
            "a tensor with lazy conjugation or negation: resolve it before saving");
  }
  check_layout(out.layout, held.bytes.bytes.size());
  return out;
}

TensorNodes::Storage TensorNodes::storage(const PickleNode& node) {
  if (!node.is_call("torch.storage _load_from_bytes")) {
    const StorageId id = storage_id(node);
    const bool untyped = node.arguments->items[1]->text == kUntypedStorage;
    return {find_(id), id.dtype, untyped};
  }
  const PickleNode& file = argument(node, 0, PickleKind::bytes);
  const auto known = loaded_.find(&file);
  if (known != loaded_.end()) return known->second;
  const auto [bytes, dtype] = load_({file.text, owner_});
  return loaded_[&file] = {bytes, dtype, false};
}

// _reconstruct(ndarray, (0,), b"b") with the state (version, shape, dtype, is Fortran, bytes), or
// _frombuffer(bytes, dtype, shape, order).
StoredTensor TensorNodes::numpy_array(const PickleNode& node) {
  if (is_numpy_call(node, " _frombuffer")) {
    const std::string_view order = argument(node, 3, PickleKind::text).text;
    require(order == "C" || order == "F", "a numpy array in order ", printable(order));
    return packed_array(bytes_of(argument(node, 0)), numpy_dtype_of(argument(node, 1)),
                        integers_of(argument(node, 2), kMaxDims), order == "F");
  }
  const PickleNode& kind = argument(node, 0, PickleKind::global);
  require(kind.text == "numpy ndarray", "a numpy array of class ", printable(kind.text));
  require(node.state != nullptr && node.state->is(PickleKind::tuple) && node.state->items.size() == 5,
          "a numpy array without its state");
  const auto& state = node.state->items;
  const NumpyDtype dtype = numpy_dtype_of(*state[2]);
  require(state[3]->is(PickleKind::boolean), "a numpy array's order is ", name_of(state[3]->kind));
  return packed_array(bytes_of(*state[4]), dtype, integers_of(*state[1], kMaxDims), state[3]->integer != 0);
}

StoredTensor TensorNodes::numpy_scalar(const PickleNode& node) {
  return packed_array(bytes_of(argument(node, 1)), numpy_dtype_of(argument(node, 0)), {}, false);
}

// Protocol 2 has no bytes: they come as _codecs.encode(text, "latin1").
ByteView TensorNodes::bytes_of(const PickleNode& node) {
  if (node.is(PickleKind::bytes)) return {node.text, owner_};
  require(node.is_call("_codecs encode"), "the contents of a numpy array are ", name_of(node.kind),
          ", wanted bytes");
  require(argument(node, 1, PickleKind::text).text == "latin1", "bytes in another encoding than latin1");
  const PickleNode& text = argument(node, 0, PickleKind::text);
  ByteView& made = encoded_[&text];
  if (made.owner == nullptr) {
    const auto buffer = std::make_shared<std::string>(latin1(text.text));
    made = {*buffer, buffer};
  }
  return made;
}

}  // namespace orrery
