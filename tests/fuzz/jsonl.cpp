// The reader of metrics.jsonl, which a resumed run trims and goes on with.
#include <fstream>

#include "base/metrics_log.h"
#include "fuzz.h"

namespace {

// Lines are trimmed in place, so the file needs a folder; it goes with the process.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "orrery-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  static const Folder folder;
  const auto file = folder.path / "metrics.jsonl";
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  fuzz::read_or_refuse([&] {
    MetricsLog log(file, 100);
    log.write(101, {{"loss", 0.5}});
  });
  return 0;
}
