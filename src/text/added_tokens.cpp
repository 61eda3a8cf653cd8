#include "text/added_tokens.h"

#include <algorithm>

namespace orrery {

AddedTokens::AddedTokens(StringMap<int32_t> ids) : ids_(std::move(ids)) {
  for (const auto& [content, id] : ids_)
    lengths_[static_cast<unsigned char>(content.front())].push_back(content.size());
  for (auto& lengths : lengths_) {
    std::sort(lengths.begin(), lengths.end(), std::greater<>());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  }
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from) const {
  for (size_t i = from; i < text.size(); ++i)
    for (const size_t length : lengths_[static_cast<unsigned char>(text[i])]) {
      if (length > text.size() - i) continue;
      const auto found = ids_.find(text.substr(i, length));
      if (found != ids_.end()) return {i, i + length, found->second};
    }
  return {text.size(), text.size(), -1};
}

}  // namespace orrery
