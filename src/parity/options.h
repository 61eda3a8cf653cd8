#pragma once
// Reading the options of a case's config.
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "parity/case.h"

namespace orrery {

// Error, naming it: an option that the runner does not know.
void require_known_options(const Case& c, std::initializer_list<std::string_view> known);

// What of the results the case wants: a file need not store all that a module makes.
NamedTensors wanted(const Case& c, NamedTensors results);

// The value that the option's word stands for. Error: another word, with the list of those allowed.
template <class T>
T choice(const Case& c, const std::string& key,
         std::initializer_list<std::pair<std::string_view, T>> values) {
  const std::string word = c.option<std::string>(key);
  std::string allowed;
  for (const auto& [name, value] : values) {
    if (name == word) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(name);
  }
  fail("config option ", key, " is ", word, ", wanted one of: ", allowed);
}

}  // namespace orrery
