// The readers of .pt files and pickles: zip, legacy form, the interpreter, tensors of torch and numpy.
#include "ckpt/torch_contents.h"
#include "ckpt/zip_archive.h"
#include "fuzz.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  const ByteView file{{reinterpret_cast<const char*>(data), size}, nullptr};
  fuzz::read_or_refuse([&] { ZipArchive(file.bytes).damage([] {}); });
  fuzz::read_or_refuse([&] {
    const TorchContents contents = read_torch(file);
    for (const auto& [name, tensor] : contents.tensors) {
      const auto& shape = tensor.layout.shape;
      fuzz::read_or_refuse([&] { fuzz::touch(tensor.rows({0, shape.empty() ? 1 : shape[0]})); });
    }
  });
  return 0;
}
