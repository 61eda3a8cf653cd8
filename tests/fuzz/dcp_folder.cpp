// A whole distributed checkpoint: the input is its .metadata and its two files, with a line "--distcp--"
// between them.
#include "ckpt/dcp.h"
#include "folder.h"
#include "fuzz.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  static const fuzz::Folder folder;
  constexpr std::string_view kBorder = "\n--distcp--\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* const name : {".metadata", "__0_0.distcp", "__1_0.distcp"}) {
    const size_t end = std::min(rest.find(kBorder), rest.size());
    folder.write(name, rest.substr(0, end));
    rest.remove_prefix(std::min(end + kBorder.size(), rest.size()));
  }
  fuzz::read_or_refuse([&] {
    const DcpFolder file(folder.path);
    file.damage();
    for (const auto& [name, entry] : file.entries())
      fuzz::read_or_refuse([&] { fuzz::touch(file.tensor(name)); });
    file.leaves();
  });
  return 0;
}
