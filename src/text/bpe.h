#pragma once
// Byte-pair encoding of one word. Used by BpeTokenizer.
#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace orrery {

class Bpe {
 public:
  struct Merge {
    int32_t left, right, merged;
  };
  // bytes[b]: id of the token of byte b alone. merges: earlier ones go first; no pair twice, else Error.
  Bpe(const std::array<int32_t, 256>& bytes, const std::vector<Merge>& merges);

  // Appends the word's ids. Of the pairs of neighbours that have a merge, the earliest in `merges` is merged
  // first, the leftmost of equal ones; O(n log n) for n bytes.
  void append(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  struct Rule {
    int32_t rank, merged;
  };
  const Rule* rule(int32_t left, int32_t right) const;

  std::array<int32_t, 256> bytes_;
  std::unordered_map<uint64_t, Rule> rules_;  // by both ids
};

}  // namespace orrery
