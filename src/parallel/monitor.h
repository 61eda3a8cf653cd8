#pragma once
// What ranks tell each other outside the collectives: how far they are (asked after a time-out) and why one
// fails. Lives on MpiEngine's thread; only failure_of_this_rank() may be called on others through the engine.
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/mpi_link.h"

namespace orrery {

// Where a rank is in the sequence of one group's collectives.
struct RankProgress {
  int64_t issued = -1;  // number of the last call that it has come to, -1 before the first
  std::string
      call;  // "all_reduce 'gradients 0'": the call that was asked about, or its last one if it is behind
  std::string where;  // what it did last, in words
};

struct Failure {
  int rank;
  Exit code;
  std::string message;
};

// "ranks 0, 1 and 3 of 4"
std::string name_ranks(const std::vector<int>& ranks, int size);

// What keeps a collective of members: for each rank but this one that is not in it, why. Ranks without an
// answer in known are stopped or lost.
std::string missing_ranks(const std::vector<int>& members, int this_rank,
                          const std::map<int, RankProgress>& known, int64_t number, const std::string& name);

// What is printed when ranks fail, one line a message, causes before their consequences; and the code to end
// with.
struct Verdict {
  std::string text;
  Exit code;
};
Verdict judge(const std::vector<Failure>& failures, int size);

class Monitor {
 public:
  using Answer = std::function<RankProgress(int context, int64_t sequence)>;
  Monitor(mpi::Layout layout, Answer answer) : layout_(std::move(layout)), answer_(std::move(answer)) {}

  void poll();  // reads letters; on rank 0 prints collected failures and ends all ranks

  int64_t ask(const std::vector<int>& ranks, int context, int64_t sequence);  // returns a ticket
  std::map<int, RankProgress> answers(int64_t ticket) const;

  // Rank 0 collects failures for a moment, so that one that all ranks found is printed once.
  void report(const Failure& failure);

 private:
  using Clock = std::chrono::steady_clock;
  void read(const mpi::Mailbox::Letter& letter);
  void collect(Failure failure);
  int size() const { return static_cast<int>(layout_.node_of.size()); }

  mpi::Layout layout_;
  Answer answer_;
  mpi::Mailbox mailbox_;
  int64_t next_ticket_ = 0;
  std::map<int64_t, std::map<int, RankProgress>> answers_;
  std::vector<Failure> failures_;
  Clock::time_point first_failure_;
};

}  // namespace orrery
