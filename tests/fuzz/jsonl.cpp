// The reader of metrics.jsonl, which a resumed run trims and goes on with.
#include "base/metrics_log.h"
#include "folder.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  static const fuzz::Folder folder;  // lines are trimmed in place
  const auto file = folder.write("metrics.jsonl", {reinterpret_cast<const char*>(data), size});
  fuzz::read_or_refuse([&] {
    MetricsLog log(file, 100);
    log.write(101, {{"loss", 0.5}});
  });
  return 0;
}
