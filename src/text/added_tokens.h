#pragma once
// Tokens that stand in raw text as they are, such as <|im_start|>. Used by BpeTokenizer.
#include <array>
#include <cstdint>
#include <vector>

#include "text/string_map.h"

namespace orrery {

class AddedTokens {
 public:
  explicit AddedTokens(StringMap<int32_t> ids);  // by content, none of them empty

  struct Match {
    size_t begin, end;
    int32_t id;
  };
  // The first token from `from` on, the longest of those that begin there. begin = text.size(): none.
  Match find(std::string_view text, size_t from) const;
  const StringMap<int32_t>& ids() const { return ids_; }

 private:
  StringMap<int32_t> ids_;
  std::array<std::vector<size_t>, 256> lengths_;  // by first byte: of the tokens' contents, longest first
};

}  // namespace orrery
