// The safetensors reader: header, layout and tensors.
#include "ckpt/safetensors.h"

#include "fuzz.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  const fuzz::InputFile input({reinterpret_cast<const char*>(data), size});
  fuzz::read_or_refuse([&] {
    const Safetensors file(input.path());
    for (const auto& [name, entry] : file.entries()) {
      static_cast<void>(file.bytes(name));
      if (entry.dtype->scalar) fuzz::touch(file.tensor(name));
    }
  });
  return 0;
}
