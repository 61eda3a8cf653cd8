#include "ckpt/torch_names.h"

#include <algorithm>
#include <array>
#include <vector>

namespace orrery {
namespace {

constexpr std::array<TorchDtype, 20> kDtypes{{
    {at::kFloat, "torch float32", "torch FloatStorage"},
    {at::kBFloat16, "torch bfloat16", "torch BFloat16Storage"},
    {at::kHalf, "torch float16", "torch HalfStorage"},
    {at::kDouble, "torch float64", "torch DoubleStorage"},
    {at::kLong, "torch int64", "torch LongStorage"},
    {at::kInt, "torch int32", "torch IntStorage"},
    {at::kShort, "torch int16", "torch ShortStorage"},
    {at::kChar, "torch int8", "torch CharStorage"},
    {at::kByte, "torch uint8", "torch ByteStorage"},
    {at::kBool, "torch bool", "torch BoolStorage"},
    {at::kComplexFloat, "torch complex64", "torch ComplexFloatStorage"},
    {at::kComplexDouble, "torch complex128", "torch ComplexDoubleStorage"},
    {at::kUInt16, "torch uint16", ""},
    {at::kUInt32, "torch uint32", ""},
    {at::kUInt64, "torch uint64", ""},
    {at::kFloat8_e4m3fn, "torch float8_e4m3fn", ""},
    {at::kFloat8_e5m2, "torch float8_e5m2", ""},
    {at::kFloat8_e4m3fnuz, "torch float8_e4m3fnuz", ""},
    {at::kFloat8_e5m2fnuz, "torch float8_e5m2fnuz", ""},
    {at::kFloat8_e8m0fnu, "torch float8_e8m0fnu", ""},
}};

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 14> kNumpyDtypes{{
    {"f2", at::kHalf},
    {"f4", at::kFloat},
    {"f8", at::kDouble},
    {"i1", at::kChar},
    {"i2", at::kShort},
    {"i4", at::kInt},
    {"i8", at::kLong},
    {"u1", at::kByte},
    {"u2", at::kUInt16},
    {"u4", at::kUInt32},
    {"u8", at::kUInt64},
    {"b1", at::kBool},
    {"c8", at::kComplexFloat},
    {"c16", at::kComplexDouble},
}};

// Numpy 2 moved numpy.core to numpy._core.
constexpr std::array<std::string_view, 20> kOthers{
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch.storage _load_from_bytes",
    kUntypedStorage,
    "torch Size",
    "torch device",
    "numpy ndarray",
    "numpy dtype",
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy._core.multiarray scalar",
    "numpy.core.numeric _frombuffer",
    "numpy._core.numeric _frombuffer",
    "_codecs encode",
    "_io BytesIO",  // _extra_state of TransformerEngine's modules
};

template <class Match>
const TorchDtype* find_dtype(Match match) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(), match);
  return found == kDtypes.end() ? nullptr : &*found;
}

}  // namespace

const TorchDtype* find_torch_dtype(at::ScalarType dtype) {
  return find_dtype([&](const TorchDtype& d) { return d.dtype == dtype; });
}
const TorchDtype* find_torch_dtype(std::string_view name) {
  return find_dtype([&](const TorchDtype& d) { return d.name == name; });
}
const TorchDtype* find_torch_storage(std::string_view global) {
  return find_dtype([&](const TorchDtype& d) { return !d.storage.empty() && d.storage == global; });
}

std::optional<at::ScalarType> numpy_dtype(std::string_view code) {
  for (const auto& [name, dtype] : kNumpyDtypes)
    if (name == code) return dtype;
  return std::nullopt;
}

std::span<const std::string_view> torch_globals() {
  static const std::vector<std::string_view> all = [] {
    std::vector<std::string_view> names(kOthers.begin(), kOthers.end());
    for (const TorchDtype& d : kDtypes) {
      names.push_back(d.name);
      if (!d.storage.empty()) names.push_back(d.storage);
    }
    return names;
  }();
  return all;
}

}  // namespace orrery
