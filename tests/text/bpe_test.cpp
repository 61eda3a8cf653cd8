// Byte-pair merging against the definition, done in the slowest way.
#include "text/bpe.h"

#include <gmock/gmock.h>

#include <numeric>
#include <random>

#include "base/error.h"

namespace orrery {
namespace {

std::array<int32_t, 256> bytes() {
  std::array<int32_t, 256> ids;
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::vector<int32_t> by_definition(const std::vector<Bpe::Merge>& merges, std::string_view word) {
  std::vector<int32_t> ids(word.begin(), word.end());
  for (;;) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      for (size_t rank = 0; rank < best; ++rank)
        if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1]) best = rank, place = i;
    if (best == merges.size()) return ids;
    ids[place] = merges[best].merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(Bpe, equals_the_definition_on_random_merges_and_words) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Bpe::Merge> merges;
    std::vector<int32_t> tokens = {'a', 'b', 'c'};
    std::map<std::pair<int32_t, int32_t>, bool> seen;
    for (int32_t next = 256; next < 280; ++next) {
      const int32_t left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
      if (std::exchange(seen[{left, right}], true)) continue;
      merges.push_back({left, right, next});
      tokens.push_back(next);
    }
    const Bpe bpe(bytes(), merges);
    std::string word;
    for (unsigned length = random() % 40; length > 0; --length) word += static_cast<char>('a' + random() % 3);
    std::vector<int32_t> ids = {-7};  // what is there stays
    bpe.append(word, ids);
    std::vector<int32_t> wanted = by_definition(merges, word);
    wanted.insert(wanted.begin(), -7);
    ASSERT_EQ(ids, wanted) << word;
  }
}

TEST(Bpe, takes_a_long_word_in_little_more_than_linear_time) {
  const Bpe bpe(bytes(), {{'a', 'a', 256}, {256, 256, 257}});
  std::vector<int32_t> ids;
  bpe.append(std::string(1 << 18, 'a'), ids);  // quadratic: minutes
  EXPECT_EQ(ids.size(), size_t{1} << 16);
}

TEST(Bpe, refuses_a_pair_that_is_there_twice) {
  EXPECT_THROW(Bpe(bytes(), {{'a', 'b', 256}, {'a', 'b', 257}}), Error);
}

}  // namespace
}  // namespace orrery
