#include "data/order.h"

#include <numeric>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {

CyclePosition cycle_position(int64_t step, const std::vector<int64_t>& parts) {
  const int64_t length = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  require(
      step >= 0 && length > 0 && std::all_of(parts.begin(), parts.end(), [](int64_t n) { return n >= 0; }),
      "mixture: step ", step, " of a cycle of ", length,
      " batches; wanted a step >= 0 and numbers of batches >= 0, one of them > 0");
  int64_t rest = step % length;
  for (int64_t part = 0;; rest -= parts[part++])
    if (rest < parts[part]) return {part, step / length * parts[part] + rest};
}

SampleOrder::SampleOrder(uint64_t seed, uint64_t stream, int64_t batch,
                         std::vector<std::vector<int64_t>> groups)
    : seed_(seed), stream_(stream), batch_(batch), groups_(std::move(groups)) {
  for (const auto& group : groups_) total_ += static_cast<int64_t>(group.size());
  require(batch > 0 && total_ > 0, "sample order: batches of ", batch, " from ", total_,
          " films; both must be positive");
  cycle_length_ = (total_ + batch - 1) / batch;
  epochs_.resize(groups_.size());
  done_.assign(groups_.size(), 0);
}

// The j-th of L batches of a cycle (before they are shuffled) stands at the film (j N + u) / L of all N films
// in the order of their groups, with one random offset 0 <= u < N a cycle.
void SampleOrder::plan_cycle() {
  Rng rng(seed_, "bucket", {stream_, static_cast<uint64_t>(cycle_)});
  const auto offset = static_cast<int64_t>(rng.below(static_cast<uint64_t>(total_)));
  std::vector<int64_t> sorted;
  int64_t group = 0, end = films(0);  // films up to the end of the group
  for (int64_t j = 0; j < cycle_length_; ++j) {
    const int64_t film = (j * total_ + offset) / cycle_length_;
    while (film >= end) end += films(++group);
    sorted.push_back(group);
  }
  plan_.clear();
  ordinals_.clear();
  for (const int64_t j : rng.permutation(cycle_length_)) {
    plan_.push_back(sorted[j]);
    ordinals_.push_back(done_[sorted[j]]++);
  }
}

void SampleOrder::go_to_cycle(int64_t cycle) {
  if (cycle < cycle_) {
    cycle_ = -1;
    done_.assign(groups_.size(), 0);
  }
  while (cycle_ < cycle) {
    ++cycle_;
    plan_cycle();
  }
}

int64_t SampleOrder::group(int64_t step) {
  require(step >= 0, "sample order: step ", step, ", wanted >= 0");
  go_to_cycle(step / cycle_length_);
  return plan_[step % cycle_length_];
}

int64_t SampleOrder::film(int64_t step, int64_t slot) {
  const int64_t number = group(step), size = films(number);
  require(slot >= 0 && slot < batch_, "sample order: slot ", slot, " of a batch of ", batch_);
  const int64_t sample = ordinals_[step % cycle_length_] * batch_ + slot;
  Epoch& epoch = epochs_[number];
  if (epoch.number != sample / size) {
    epoch.number = sample / size;
    epoch.order =
        Rng(seed_, "order", {stream_, static_cast<uint64_t>(number), static_cast<uint64_t>(epoch.number)})
            .permutation(size);
  }
  return groups_[number][epoch.order[sample % size]];
}

int64_t SampleOrder::replacement(int64_t group, int64_t step, int64_t slot, int64_t attempt) const {
  const auto size = static_cast<uint64_t>(films(group));
  Rng rng(seed_, "replacement", {stream_, static_cast<uint64_t>(step), static_cast<uint64_t>(slot)});
  const uint64_t start = rng.below(size);
  uint64_t stride = 1 + rng.below(size);
  while (std::gcd(stride, size) != 1) ++stride;
  return groups_[group][(start + static_cast<uint64_t>(attempt) * stride) % size];
}

}  // namespace orrery
