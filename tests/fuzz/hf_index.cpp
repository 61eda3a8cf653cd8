// The index of sharded safetensors, beside two shards that hold the tensors a, b and c.
#include "ckpt/hf_index.h"

#include <ATen/ops/ones.h>

#include "ckpt/safetensors.h"
#include "folder.h"
#include "fuzz.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  static const fuzz::Folder folder;
  static const bool saved = [] {
    save_safetensors(folder.path / "1.safetensors", {{"a", at::ones({3, 2})}});
    save_safetensors(folder.path / "2.safetensors", {{"b", at::ones({4})}, {"c", at::ones({})}});
    return true;
  }();
  static_cast<void>(saved);
  const auto index = folder.write("fuzz.safetensors.index.json", {reinterpret_cast<const char*>(data), size});
  fuzz::read_or_refuse([&] {
    const HfIndex file(index);
    if (file.entries().size() > 3) std::abort();
    for (const auto& [name, tensor] : file.tensors()) fuzz::touch(tensor);
  });
  return 0;
}
