#include "text/bpe.h"

#include <queue>

#include "base/error.h"

namespace orrery {
namespace {

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A part of the word, in a list of those that are left. A part that was merged into its neighbour has id -1.
struct Part {
  int32_t id;
  int64_t previous, next;  // -1: none
};

struct Candidate {
  int32_t rank, merged;
  int64_t left;               // place of the left part
  int32_t left_id, right_id;  // as they were when the candidate was found
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

}  // namespace

Bpe::Bpe(const std::array<int32_t, 256>& bytes, const std::vector<Merge>& merges) : bytes_(bytes) {
  rules_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right, merged] = merges[rank];
    const bool is_new = rules_.emplace(pair_of(left, right), Rule{static_cast<int32_t>(rank), merged}).second;
    require(is_new, "merge ", rank, " is there twice: ids ", left, " and ", right);
  }
}

const Bpe::Rule* Bpe::rule(int32_t left, int32_t right) const {
  const auto found = rules_.find(pair_of(left, right));
  return found == rules_.end() ? nullptr : &found->second;
}

void Bpe::append(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<Part> parts;
  for (int64_t i = 0; i < std::ssize(word); ++i)
    parts.push_back({bytes_[static_cast<unsigned char>(word[static_cast<size_t>(i)])], i - 1,
                     i + 1 < std::ssize(word) ? i + 1 : -1});
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto part = [&](int64_t place) -> Part& { return parts[static_cast<size_t>(place)]; };
  const auto offer = [&](int64_t left) {
    if (left < 0 || part(left).next < 0) return;
    const int32_t left_id = part(left).id, right_id = part(part(left).next).id;
    if (const Rule* found = rule(left_id, right_id))
      queue.push({found->rank, found->merged, left, left_id, right_id});
  };
  for (int64_t i = 0; i < std::ssize(parts); ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Part& left = part(best.left);
    if (left.id != best.left_id || left.next < 0 || part(left.next).id != best.right_id) continue;
    Part& right = part(left.next);
    left.id = best.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) part(left.next).previous = best.left;
    offer(left.previous);
    offer(best.left);
  }
  for (int64_t i = word.empty() ? -1 : 0; i >= 0; i = part(i).next) ids.push_back(part(i).id);
}

}  // namespace orrery
