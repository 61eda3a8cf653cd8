#include "merge/same_tensors.h"

#include "base/error.h"
#include "base/printable.h"

namespace orrery {
namespace {

bool is_floating(const WeightEntry& entry) {
  return entry.dtype && at::isFloatingType(*entry.dtype);
}

}  // namespace

void require_same_tensors(const WeightFile& first, const WeightFile& other) {
  constexpr size_t kShown = 20;
  std::vector<std::string> problems;
  for (const auto& [name, entry] : first.entries()) {
    if (!other.contains(name)) {
      problems.push_back("missing: " + printable(name));
    } else if (const WeightEntry& found = other.entry(name); found.shape != entry.shape) {
      problems.push_back(text_of("wrong shape: ", printable(name), " ", at::IntArrayRef(found.shape),
                                 ", wanted ", at::IntArrayRef(entry.shape)));
    } else if (is_floating(found) != is_floating(entry)) {
      problems.push_back("floating in one of the two only: " + printable(name));
    }
  }
  for (const auto& [name, entry] : other.entries())
    if (!first.contains(name)) problems.push_back("unexpected: " + printable(name));
  std::string text;
  for (size_t i = 0; i < std::min(problems.size(), kShown); ++i) text += "\n  " + problems[i];
  if (problems.size() > kShown) text += text_of("\n  and ", problems.size() - kShown, " more");
  require(problems.empty(), "merge: ", other.path().string(), " does not have the tensors of ",
          first.path().string(), ":", text);
}

}  // namespace orrery
