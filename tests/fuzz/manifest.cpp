// The manifest of a checkpoint. The input is a manifest without its digest, which is put behind it, since no
// fuzzer finds one.
#include "ckpt/manifest.h"

#include "ckpt/digest.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  const std::string body(reinterpret_cast<const char*>(data), size);
  const std::string text = body + ",\"digest\":\"" + hex_of(digest_of(body)) + "\"}\n";
  for (const Coverage coverage : {Coverage::whole, Coverage::part}) {
    fuzz::read_or_refuse([&] {
      const Manifest manifest = parse_manifest(text, "fuzz", coverage);
      if (manifest_text(manifest) != text) std::abort();
      for (const auto& [name, tensor] : manifest.tensors)
        if (tensor.row_bytes() < 0 || tensor.bytes() < 0) std::abort();
      Manifest twice = manifest;
      merge_manifest(twice, manifest, "fuzz");
      require_sound(twice, "fuzz", Coverage::part);
    });
  }
  fuzz::read_or_refuse([&] { static_cast<void>(parse_manifest(body, "fuzz", Coverage::whole)); });
  return 0;
}
