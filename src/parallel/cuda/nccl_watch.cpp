#include "parallel/cuda/nccl_watch.h"

#include "parallel/cuda/check.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr double kMostPerPoll_s = 1;  // while this process itself was stopped, nothing is held against peers

}  // namespace

NcclWatch::NcclWatch(World& world, std::shared_ptr<MpiEngine> engine)
    : world_(world), engine_(std::move(engine)) {
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
  const std::shared_ptr<Group> group(new Group{.name = std::move(name), .queue = std::move(queue)});
  const std::lock_guard lock(mutex_);
  return groups_.emplace_back(group);
}

void NcclWatch::set_comm(Group& group, ncclComm_t comm) {
  const std::lock_guard lock(mutex_);
  group.comm = comm;
}

void NcclWatch::remove_group(const std::shared_ptr<Group>& group) {
  const std::lock_guard lock(mutex_);
  std::erase(groups_, group);
}

int64_t NcclWatch::add(Group& group, std::string name) {
  CallRecord record = engine_->note_issued(*group.queue, std::move(name));
  const std::lock_guard lock(mutex_);
  return group.calls.emplace_back(Group::Call{std::move(record)}).number;
}

void NcclWatch::give_up() noexcept {
  const Ending ending = ending_of(std::current_exception());
  world_.abort(ending.code, ending.message);
}

void NcclWatch::run() {
  try {
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
  for (; !calls.empty() && calls.front().number <= group.progress.finished(); calls.pop_front())
    engine_->note_finished(*group.queue, calls.front().number);
  if (calls.empty()) return;
  Group::Call& head = calls.front();
  if (head.waits_for_peers) {
    head.waited_s += passed_s;
  } else if (head.number <= group.progress.reached()) {
    head.waits_for_peers = true;
    engine_->note_reached(*group.queue, head.number);
  }
  const double limit_s = engine_->timeout_s();
  if (head.waited_s >= limit_s) throw Error(engine_->explain(*group.queue, head), Exit::peer_lost);
}

void NcclWatch::require_no_error(const Group& group) const {
  if (!group.comm) return;
  ncclResult_t status = ncclSuccess;
  check(ncclCommGetAsyncError(group.comm, &status));
  if (status == ncclSuccess || status == ncclInProgress) return;
  const std::string during = group.calls.empty() ? "between calls"
                                                 : text_of("during ", group.calls.front().name, " of step ",
                                                           group.calls.front().step);
  throw Error(text_of("communicator ", group.name, ", ", during, ": NCCL: ", ncclGetErrorString(status), ": ",
                      ncclGetLastError(group.comm)),
              Exit::peer_lost);
}

}  // namespace orrery
