// The reader of INI files into the whole configuration; what it reads must come back from what it writes.
#include "base/config.h"
#include "cli/options.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  const fuzz::InputFile input({reinterpret_cast<const char*>(data), size});
  Config config;
  const cli::Settings settings = cli::settings_of(config);
  std::string written;
  fuzz::read_or_refuse([&] {
    cli::read_ini(input.path(), settings);
    written = cli::ini_of(settings);
  });
  if (written.empty()) return 0;
  const fuzz::InputFile again(written);
  Config copy;
  const cli::Settings copied = cli::settings_of(copy);
  cli::read_ini(again.path(), copied);  // an Error here is a finding
  if (cli::ini_of(copied) != written) std::abort();
  return 0;
}
