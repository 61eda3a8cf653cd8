#pragma once
// A thread that looks at NCCL's calls under way, since nobody on the host waits for them: it ends the run
// when one outlasts the world's time-out or NCCL meets an error. One for all NcclComms that come from one
// nccl_comm(). Used by NcclComm alone.
//
// A call's time counts from when this rank's GPU came to it, not from when the host issued it: a host may be
// a whole step ahead. The thread makes no call of CUDA (stream_progress.h says why).
#include <nccl.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "parallel/cuda/stream_progress.h"
#include "parallel/mpi_engine.h"
#include "parallel/world.h"

namespace orrery {

class NcclWatch {
 public:
  // A communicator and its calls under way, in order.
  struct Group {
    struct Call : CallRecord {
      bool waits_for_peers = false;
      double waited_s = 0;
    };
    std::string name;
    std::shared_ptr<MpiEngine::Queue> queue;
    StreamProgress progress = {};
    ncclComm_t comm = nullptr;
    std::deque<Call> calls = {};
  };

  NcclWatch(World& world, std::shared_ptr<MpiEngine> engine);
  ~NcclWatch();

  std::shared_ptr<Group> add_group(std::string name, std::shared_ptr<MpiEngine::Queue> queue);
  void set_comm(Group& group, ncclComm_t comm);  // from now on its asynchronous errors are looked for
  void remove_group(const std::shared_ptr<Group>& group);
  int64_t add(Group& group, std::string name);  // the call's number in the queue's sequence

  // Ends the run with the exception under way.
  [[noreturn]] void give_up() noexcept;

 private:
  void run();
  void look_at(Group& group, double passed_s);
  void require_no_error(const Group& group) const;

  World& world_;
  const std::shared_ptr<MpiEngine> engine_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Group>> groups_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace orrery
