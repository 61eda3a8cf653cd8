#pragma once
// A thread that looks at NCCL's calls under way, since nobody on the host waits for them: it ends the run
// when one outlasts the world's time-out or NCCL meets an error. One for all NcclComms that come from one
// nccl_comm(). Used by NcclComm alone.
//
// A call's time counts from when this rank's GPU came to it, not from when the host issued it: a host may be
// a whole step ahead.
#include <c10/cuda/CUDAEvent.h>
#include <nccl.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "parallel/mpi_engine.h"
#include "parallel/world.h"

namespace orrery {

class NcclWatch {
 public:
  // Events that were never recorded count as passed.
  struct Call {
    c10::cuda::CUDAEvent reached, finished;  // before and after NCCL's work on the communication stream
    std::atomic<bool> issued = false;        // set when finished has been recorded
    CallRecord record = {};
    bool waits_for_peers = false;  // this and the next are the thread's own
    double waited_s = 0;
  };
  // The calls of one communicator in order.
  struct Group {
    std::string name;
    std::shared_ptr<MpiEngine::Queue> queue;
    ncclComm_t comm = nullptr;
    std::deque<std::shared_ptr<Call>> calls = {};
  };

  NcclWatch(World& world, std::shared_ptr<MpiEngine> engine, at::Device device);
  ~NcclWatch();

  std::shared_ptr<Group> add_group(std::string name, std::shared_ptr<MpiEngine::Queue> queue);
  void set_comm(Group& group, ncclComm_t comm);  // from now on its asynchronous errors are looked for
  void remove_group(const std::shared_ptr<Group>& group);
  void add(Group& group, const std::shared_ptr<Call>& call, std::string name);

  // Ends the run with the exception under way.
  [[noreturn]] void give_up() noexcept;

 private:
  void run();
  void look_at(Group& group, double passed_s);
  void require_no_error(const Group& group) const;

  World& world_;
  const std::shared_ptr<MpiEngine> engine_;
  const at::Device device_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Group>> groups_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace orrery
