#pragma once
// The thread that makes all MPI calls of a rank. It runs the queues of collectives, each group's in order and
// the groups independently, sleeps between polls so that ranks may outnumber cores, and answers other ranks'
// questions even while this rank's main thread computes. Used by World, MpiComm and the NCCL backend, whose
// calls are noted here so that ranks can ask each other about them too.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "parallel/collectives.h"
#include "parallel/monitor.h"

namespace orrery {

struct EngineOptions {
  double timeout_s = 600;
  int64_t max_message_bytes = int64_t{1} << 30;  // MPI counts are ints
  int64_t round_bytes = 32 << 20;                // staging memory of a reduction
};

// A call's place in its group's sequence.
struct CallRecord {
  std::string name;              // "all_reduce 'gradients 0'"
  int64_t number = 0, step = 0;  // position in the sequence; training step
};

// One collective under way, shared by the queue and the Work that waits for it.
struct Operation : CallRecord {
  Collective call;
  std::deque<Stage> stages = {};
  std::optional<mpi::Exchange> exchange = {};
  bool finished = false;  // under the engine's mutex, and then error too
  std::exception_ptr error = {};
};

class MpiEngine {
 public:
  struct Queue;  // of one group

  MpiEngine(mpi::Layout layout, EngineOptions options);
  ~MpiEngine();
  void stop();  // ends the thread, whatever is under way; later calls are errors

  std::shared_ptr<Queue> add_group(CommGroup group);
  int next_context() const { return next_context_; }  // greater than all in use on this rank
  std::shared_ptr<Operation> start(Queue& queue, Collective call);
  void wait(const Operation& operation, const Queue& queue);
  bool ready(const Operation& operation);
  void wait_until_idle();  // all queues empty, same time-out

  // A call that runs on a GPU takes a place in the queue's sequence: when the host issues it, when the GPU
  // has come to it (from then on it waits for its peers), when it is finished.
  CallRecord note_issued(Queue& queue, std::string name);
  void note_reached(Queue& queue, int64_t number);
  void note_finished(Queue& queue, int64_t number);

  // Why a call does not finish: asks the other members where they are. Takes up to 5 s.
  std::string explain(const Queue& queue, const CallRecord& stuck);

  void set_step(int64_t step) { step_ = step; }
  void set_timeout(double seconds) { timeout_s_ = seconds; }
  double timeout_s() const { return timeout_s_; }

  // Tells rank 0, which prints the message with those of other ranks and ends all; goes alone if rank 0 does
  // not.
  [[noreturn]] void fail_all(Exit code, const std::string& message) noexcept;

 private:
  void run();
  void loop();
  bool advance_all();
  bool advance(Operation& operation, const CommGroup& group);
  void retire(Queue& queue, Operation& operation);
  RankProgress progress_of(int context, int64_t number);
  std::optional<std::map<int, RankProgress>> ask_members(const CommGroup& group, int64_t number);
  bool run_on_thread(std::function<void()> task, std::chrono::milliseconds limit);
  [[noreturn]] void end_alone(Exit code, const std::string& message) noexcept;

  const mpi::Layout layout_;
  const EngineOptions options_;
  std::atomic<double> timeout_s_;
  std::atomic<int64_t> step_ = 0;
  std::atomic<bool> failing_ = false;
  int next_context_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::shared_ptr<Queue>> queues_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  Monitor monitor_;
  std::thread thread_;
};

}  // namespace orrery
