// Samples of films to make: the input is a .jsonl file and, as a whole, a .json file.
#include "infer/requests.h"

#include "folder.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace orrery;
  static const fuzz::Folder folder;
  static const auto input = folder.write("in.png", "a picture");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"a.jsonl", "a.json"}) {
    const auto file = folder.write(name, bytes);
    fuzz::read_or_refuse([&] {
      const RequestList list = read_requests({file}, {}, {.num_generations = 2});
      if (list.requests.empty() && list.problems.empty()) std::abort();
      for (const FilmRequest& request : list.requests) {  // reads back as itself
        const auto again = read_requests({folder.write("b.json", json_of(request).dump())}, {}, {});
        if (again.requests.size() != 1 || json_of(again.requests[0]) != json_of(request)) std::abort();
      }
    });
  }
  return 0;
}
