#pragma once
// Comm: collectives among a group of ranks, the same interface on host memory (comm_mpi) and on GPUs. Used by
// data parallelism, FSDP, Ulysses and the trainer.
//
// All ranks of a Comm call the same collectives in the same order with the same label; calls on one Comm run
// in that order, different Comms run independently. Tensors are contiguous, of dtype float32, float64,
// bfloat16, int64 or uint8, and must not be touched between the call and Work::wait(). Counts are numbers of
// elements, one a rank, and may be zero. Wrong arguments throw Error here, before anything is sent.
//
// Reductions are exactly defined: each element is x0 + x1 + ... in rank order, bfloat16 in float32 with one
// rounding at the end, mean divides the sum by size(). The bits depend neither on the element's place nor on
// the tensor's size, so bucket sizes do not change results. mean wants a floating dtype, uint8 only max and
// min; a NaN wins in max and min. (This holds for the MPI backend; comm_nccl.h says what NCCL does.)
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

enum class ReduceOp { sum, mean, max, min };
using Counts = std::vector<int64_t>;

// A collective under way. It holds the tensors until wait() returns. The destructor waits if nobody did,
// except while an exception unwinds: then it lets go, because peers may never arrive.
class [[nodiscard]] Work {
 public:
  struct Pending {
    virtual ~Pending() = default;
    virtual void wait() = 0;
    virtual bool ready() = 0;
  };
  Work() = default;  // nothing to wait for
  explicit Work(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&& other) noexcept;  // waits for the one it replaces
  ~Work();

  // Returns when the results may be used by what this thread does next (for a GPU backend: on its current
  // stream). Throws Error with Exit::peer_lost after the world's time-out, naming the collective, its label,
  // the step and the ranks that did not arrive; the GPU backend ends the run with that message.
  void wait();
  bool ready() const { return !pending_ || pending_->ready(); }

 private:
  friend class Comm;
  std::unique_ptr<Pending> pending_;
  std::string title_;  // "all_gather 'gather blocks.7'", for observers
};

// Sees the waits for collectives on its thread: benchmarks time them. A wait that has nothing to wait for is
// not told.
class WaitObserver {
 public:
  virtual ~WaitObserver() = default;
  virtual void before_wait(std::string_view collective) = 0;
  virtual void after_wait() = 0;
};

// RAII: the observer is told while this lives; of several, the innermost alone.
class ObservingWaits {
 public:
  explicit ObservingWaits(WaitObserver& observer);
  ~ObservingWaits();
  ObservingWaits(const ObservingWaits&) = delete;
  ObservingWaits& operator=(const ObservingWaits&) = delete;

 private:
  WaitObserver* outer_;
};

// One call as a backend sees it, arguments checked.
struct Collective {
  enum class Kind : int { all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, barrier };
  Kind kind;
  std::string label;
  at::Tensor out = {}, in = {};  // all_reduce, broadcast: out alone, in place
  Counts out_counts = {},
         in_counts = {};  // elements from and to each rank (one of them where the other is implied)
  ReduceOp op = ReduceOp::sum;
  int root = 0;
  bool leaves_own = false;  // all_to_all: this rank's piece for itself is not copied
};
std::string_view name_of(Collective::Kind kind);

class Comm {
 public:
  virtual ~Comm() = default;
  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& name() const { return name_; }

  Work all_reduce(at::Tensor tensor, ReduceOp op, std::string_view label);  // in place
  // out: the inputs of all ranks, one after the other. in may be its own place in out.
  Work all_gather(at::Tensor out, at::Tensor in, std::string_view label);
  Work all_gather(at::Tensor out, at::Tensor in, Counts counts, std::string_view label);
  // in: one piece for each rank, one after the other; out: this rank's piece, reduced. out may be its own
  // place in in.
  Work reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op, std::string_view label);
  Work reduce_scatter(at::Tensor out, at::Tensor in, Counts counts, ReduceOp op, std::string_view label);
  // in: one piece for each rank; out: the piece from each rank.
  Work all_to_all(at::Tensor out, at::Tensor in, std::string_view label);
  Work all_to_all(at::Tensor out, at::Tensor in, Counts out_counts, Counts in_counts, std::string_view label);
  // As all_to_all, but a rank's piece for itself is the caller's business: its place in `in` is not read, its
  // place in `out` not written, and the caller may write there before the wait.
  Work exchange_with_others(at::Tensor out, at::Tensor in, Counts out_counts, Counts in_counts,
                            std::string_view label);
  Work broadcast(at::Tensor tensor, int root, std::string_view label);
  Work barrier(std::string_view label);

  // Ranks of equal colour form a new Comm, ordered by key, then by rank here. All ranks of this Comm must
  // call it.
  virtual std::unique_ptr<Comm> split(int64_t colour, int64_t key, std::string name) = 0;

 protected:
  Comm(int rank, int size, std::string name) : rank_(rank), size_(size), name_(std::move(name)) {}
  virtual Work start(Collective call) = 0;  // size() > 1
  virtual c10::DeviceType device() const = 0;

 private:
  void check(const Collective& call, const at::Tensor& tensor) const;
  void check_reduce(const Collective& call) const;
  void check_counts(const Collective& call, const Counts& counts, const at::Tensor& tensor) const;
  Counts equal_counts(const at::Tensor& whole, std::string_view label) const;
  Work all_to_all(Collective call);
  Work launch(Collective call);
  std::string describe(const Collective& call) const;

  int rank_, size_;
  std::string name_;
};

// A group of one: every collective copies input to output.
std::unique_ptr<Comm> single_rank_comm(std::string name, c10::DeviceType device = c10::DeviceType::CPU);

}  // namespace orrery
