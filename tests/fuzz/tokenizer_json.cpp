// The reader of tokenizer.json, and a tokenizer made of what it accepts.
#include "fuzz.h"
#include "text/bpe_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  const fuzz::InputFile file({reinterpret_cast<const char*>(data), size});
  fuzz::read_or_refuse([&] {
    const BpeTokenizer tokenizer(file.path());
    tokenizer.encode("It's <a><b> 42\r\n\u00e9\u0301!");
    tokenizer.encode({reinterpret_cast<const char*>(data), size});
  });
  return 0;
}
