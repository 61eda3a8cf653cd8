#pragma once
// What PyTorch and numpy call their dtypes in a pickle, and the globals that a pickle of tensors may name.
// For the readers and the writer of PyTorch files.
#include <c10/core/ScalarType.h>

#include <optional>
#include <span>
#include <string_view>

namespace orrery {

struct TorchDtype {
  at::ScalarType dtype;
  std::string_view name;     // global of the dtype: "torch float32"
  std::string_view storage;  // global of the typed storage: "torch FloatStorage"; empty: it has none
};

// An untyped storage, counted in bytes; dtypes without a typed one use it.
inline constexpr std::string_view kUntypedStorage = "torch.storage UntypedStorage";

const TorchDtype* find_torch_dtype(at::ScalarType dtype);          // null: PyTorch files cannot hold it
const TorchDtype* find_torch_dtype(std::string_view name);         // by the dtype's global
const TorchDtype* find_torch_storage(std::string_view global);     // by the storage's global
std::optional<at::ScalarType> numpy_dtype(std::string_view code);  // "f4", "i8", "b1"

// "module name" of everything that a file of tensors and plain data needs.
std::span<const std::string_view> torch_globals();

}  // namespace orrery
