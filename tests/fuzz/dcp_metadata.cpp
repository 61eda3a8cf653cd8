// The reader of .metadata of a distributed checkpoint.
#include "ckpt/dcp.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  fuzz::read_or_refuse([&] {
    for (const auto& [name, tensor] : read_dcp_metadata({reinterpret_cast<const char*>(data), size}).tensors)
      for (const DcpChunk& chunk : tensor.chunks)
        if (chunk.item.file.find('/') != std::string::npos || chunk.sizes.size() != tensor.shape.size())
          std::abort();
  });
  return 0;
}
