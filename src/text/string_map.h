#pragma once
// A hash map whose strings are looked up by view, without a copy.
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace orrery {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

}  // namespace orrery
