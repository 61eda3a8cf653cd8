#pragma once
// Which film goes into which slot of which batch: a function of (seed, step) alone, so that neither the
// number of ranks nor of workers changes it and a run can be taken up at any step. Called by the loader.
#include <cstdint>
#include <vector>

namespace orrery {

// Deterministic cycle over several data sets: parts[0] batches of the first, then parts[1] of the second, ...
// (IterativeJointDataLoader of cosmos-predict2.5, with parts = {images, videos} there {1, 3}).
struct CyclePosition {
  int64_t part = 0;
  int64_t batch = 0;  // number of earlier batches of this part: its own step
};
CyclePosition cycle_position(int64_t step, const std::vector<int64_t>& parts);

// Order of one data set. Each group (bucket) is gone through in epochs, each in an order of its own, drawn
// without replacement; an epoch goes on where the last one ended, also within a batch. Which group a batch
// comes from: cycles of ceil(films / batch) batches, spread over the groups in proportion to their films
// (systematic sampling, so that a cycle has the exact share rounded down or up), in random order.
// Not thread-safe, but for replacement().
class SampleOrder {
 public:
  // groups: the films (numbers) of each bucket; at least one film. stream: tells data sets of a seed apart.
  SampleOrder(uint64_t seed, uint64_t stream, int64_t batch, std::vector<std::vector<int64_t>> groups);

  int64_t group(int64_t step);               // whose films make up the batch
  int64_t film(int64_t step, int64_t slot);  // 0 <= slot < batch

  // Film that stands in for the film of that slot after `attempt` >= 1 failures: a random walk through the
  // group that meets each film once for attempt 1 .. films in the group.
  int64_t replacement(int64_t group, int64_t step, int64_t slot, int64_t attempt) const;
  int64_t films(int64_t group) const { return static_cast<int64_t>(groups_[group].size()); }

 private:
  struct Epoch {
    int64_t number = -1;
    std::vector<int64_t> order;
  };
  void go_to_cycle(int64_t cycle);
  void plan_cycle();

  uint64_t seed_, stream_;
  int64_t batch_, total_ = 0, cycle_length_ = 0;
  std::vector<std::vector<int64_t>> groups_;
  std::vector<Epoch> epochs_;  // the epoch in use of each group

  int64_t cycle_ = -1;             // the cycle that is planned
  std::vector<int64_t> done_;      // batches of each group up to its end
  std::vector<int64_t> plan_;      // group of each batch in it
  std::vector<int64_t> ordinals_;  // number of earlier batches of that group since step 0
};

}  // namespace orrery
