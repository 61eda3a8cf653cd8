#include "parallel/cuda/nccl_watch.h"

#include <c10/cuda/CUDAGuard.h>

#include "parallel/cuda/check.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr double kMostPerPoll_s = 1;  // while this process itself was stopped, nothing is held against peers

}  // namespace

NcclWatch::NcclWatch(World& world, std::shared_ptr<MpiEngine> engine, at::Device device)
    : world_(world), engine_(std::move(engine)), device_(device) {
  thread_ = std::thread([this] { run(); });
}

NcclWatch::~NcclWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::shared_ptr<NcclWatch::Group> NcclWatch::add_group(std::string name,
                                                       std::shared_ptr<MpiEngine::Queue> queue) {
  const std::lock_guard lock(mutex_);
  return groups_.emplace_back(new Group{.name = std::move(name), .queue = std::move(queue)});
}

void NcclWatch::set_comm(Group& group, ncclComm_t comm) {
  const std::lock_guard lock(mutex_);
  group.comm = comm;
}

void NcclWatch::remove_group(const std::shared_ptr<Group>& group) {
  const std::lock_guard lock(mutex_);
  std::erase(groups_, group);
}

void NcclWatch::add(Group& group, const std::shared_ptr<Call>& call, std::string name) {
  call->record = engine_->note_issued(*group.queue, std::move(name));
  const std::lock_guard lock(mutex_);
  group.calls.push_back(call);
}

void NcclWatch::give_up() noexcept {
  const Ending ending = ending_of(std::current_exception());
  world_.abort(ending.code, ending.message);
}

void NcclWatch::run() {
  try {
    const c10::cuda::CUDAGuard guard(device_);  // else CUDA would make a context on GPU 0 too
    auto last = Clock::now();
    std::unique_lock lock(mutex_);
    while (!stop_) {
      wake_.wait_for(lock, kPoll);
      const auto now = Clock::now();
      const double passed_s = std::chrono::duration<double>(now - last).count();
      last = now;
      for (const auto& group : groups_) look_at(*group, std::min(passed_s, kMostPerPoll_s));
    }
  } catch (...) {
    give_up();
  }
}

void NcclWatch::look_at(Group& group, double passed_s) {
  require_no_error(group);
  auto& calls = group.calls;
  while (!calls.empty() && calls.front()->issued && calls.front()->finished.query()) {
    engine_->note_finished(*group.queue, calls.front()->record.number);
    calls.pop_front();
  }
  if (calls.empty()) return;
  Call& head = *calls.front();
  if (head.waits_for_peers) {
    head.waited_s += passed_s;
  } else if (head.reached.query()) {
    head.waits_for_peers = true;
    engine_->note_reached(*group.queue, head.record.number);
  }
  const double limit_s = engine_->timeout_s();
  if (head.waited_s >= limit_s)
    throw Error(engine_->explain(*group.queue, head.record, limit_s), Exit::peer_lost);
}

void NcclWatch::require_no_error(const Group& group) const {
  if (!group.comm) return;
  ncclResult_t status = ncclSuccess;
  check(ncclCommGetAsyncError(group.comm, &status));
  if (status == ncclSuccess || status == ncclInProgress) return;
  const std::string during = group.calls.empty() ? "between calls"
                                                 : text_of("during ", group.calls.front()->record.name,
                                                           " of step ", group.calls.front()->record.step);
  throw Error(text_of("communicator ", group.name, ", ", during, ": NCCL: ", ncclGetErrorString(status), ": ",
                      ncclGetLastError(group.comm)),
              Exit::peer_lost);
}

}  // namespace orrery
