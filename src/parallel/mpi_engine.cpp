#include "parallel/mpi_engine.h"

#include <c10/core/InferenceMode.h>
#include <sched.h>

#include <cstdlib>
#include <future>
#include <iostream>

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kAnswerTime = milliseconds(5000);  // a rank that says nothing for so long is stopped or lost
constexpr size_t kHistory = 512;                  // a host issues calls far ahead of its GPU
constexpr int kContexts = 1000;  // communicators that may share a rank; MPI promises tags up to 32767

double seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

// Waits in slices and counts each as a second at most: time during which this process itself was stopped
// (Ctrl-Z, a suspended machine) is not held against its peers.
class PatientTimer {
 public:
  template <class Predicate>
  bool wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, double limit_s,
            Predicate done) {
    while (!done() && waited_s_ < limit_s) {
      const auto start = Clock::now();
      changed.wait_for(lock, std::chrono::duration<double>(std::min(0.1, limit_s - waited_s_)));
      waited_s_ += std::min(1.0, seconds(Clock::now() - start));
    }
    return done();
  }

 private:
  double waited_s_ = 0;
};

// Context, then a hash of name and number in the bits that this MPI's tags have left: ranks that call
// different collectives never take each other's messages, and the time-out names what each called.
int tag_of(const CommGroup& group, const Operation& operation) {
  uint32_t hash = 2166136261u ^ static_cast<uint32_t>(operation.number);  // FNV-1a
  for (const char c : operation.name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  const uint32_t room = static_cast<uint32_t>(mpi::max_tag()) / kContexts;
  return group.context * static_cast<int>(room) + static_cast<int>(hash % room);
}

}  // namespace

struct MpiEngine::Queue {
  struct Record : CallRecord {
    Clock::time_point started;
    bool finished = false;
  };
  CommGroup group;
  std::deque<std::shared_ptr<Operation>> operations = {};
  std::deque<Record> history = {};  // the last calls, without gaps
  int64_t next_number = 0;
  int64_t reached = -1;            // the last call that is no longer held up by this rank's own work
  std::exception_ptr broken = {};  // after an error the group's messages no longer match
  std::vector<std::shared_ptr<Operation>> failed = {};  // MPI may still write into their tensors

  CallRecord append(std::string call_name, int64_t step) {
    history.push_back({{std::move(call_name), next_number++, step}, Clock::now()});
    if (history.size() > kHistory) history.pop_front();
    return history.back();
  }
  Record* find(int64_t number) {
    const int64_t place = history.empty() ? -1 : number - history.front().number;
    return place >= 0 && place < static_cast<int64_t>(history.size()) ? &history[place] : nullptr;
  }
};

MpiEngine::MpiEngine(mpi::Layout layout, EngineOptions options)
    : layout_(layout),
      options_(options),
      timeout_s_(options.timeout_s),
      monitor_(std::move(layout),
               [this](int context, int64_t number) { return progress_of(context, number); }) {
  thread_ = std::thread([this] { run(); });
}

MpiEngine::~MpiEngine() {
  stop();
}

void MpiEngine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<MpiEngine::Queue> MpiEngine::add_group(CommGroup group) {
  require(group.context < kContexts, "communicator ", group.name, ": more than ", kContexts, " on one rank");
  const std::lock_guard lock(mutex_);
  next_context_ = std::max(next_context_, group.context + 1);
  std::erase_if(queues_, [](const auto& queue) {
    return queue.use_count() == 1 && queue->operations.empty() && !queue->broken;
  });
  return queues_.emplace_back(new Queue{.group = std::move(group)});
}

std::shared_ptr<Operation> MpiEngine::start(Queue& queue, Collective call) {
  auto operation = std::make_shared<Operation>();
  const std::string name = text_of(name_of(call.kind), " '", call.label, "'");
  operation->call = std::move(call);
  operation->stages = stages_of(operation->call, queue.group, options_.round_bytes);
  {
    const std::lock_guard lock(mutex_);
    require(!stop_, name, " of ", queue.group.name, ": called after the World ended");
    if (queue.broken) std::rethrow_exception(queue.broken);
    static_cast<CallRecord&>(*operation) = queue.append(name, step_);
    queue.reached = operation->number;
    queue.operations.push_back(operation);
  }
  wake_.notify_one();
  return operation;
}

CallRecord MpiEngine::note_issued(Queue& queue, std::string name) {
  const std::lock_guard lock(mutex_);
  return queue.append(std::move(name), step_);
}

void MpiEngine::note_reached(Queue& queue, int64_t number) {
  const std::lock_guard lock(mutex_);
  queue.reached = std::max(queue.reached, number);
}

void MpiEngine::note_finished(Queue& queue, int64_t number) {
  const std::lock_guard lock(mutex_);
  queue.reached = std::max(queue.reached, number);
  if (auto* record = queue.find(number)) record->finished = true;
}

bool MpiEngine::ready(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  return operation.finished;
}

void MpiEngine::wait(const Operation& operation, const Queue& queue) {
  PatientTimer timer;
  std::unique_lock lock(mutex_);
  if (!timer.wait(done_, lock, timeout_s_, [&] { return operation.finished; })) {
    const auto stuck = queue.operations.front();
    lock.unlock();
    const std::string text = explain(queue, *stuck);
    lock.lock();
    if (!operation.finished) throw Error(text, Exit::peer_lost);
  }
  if (operation.error) std::rethrow_exception(operation.error);
}

void MpiEngine::wait_until_idle() {
  PatientTimer timer;
  std::unique_lock lock(mutex_);
  const auto busy = [&] {
    return std::find_if(queues_.begin(), queues_.end(),
                        [](const auto& queue) { return !queue->operations.empty(); });
  };
  if (timer.wait(done_, lock, timeout_s_, [&] { return busy() == queues_.end(); })) return;
  const Queue& queue = **busy();
  const auto stuck = queue.operations.front();
  lock.unlock();
  throw Error(explain(queue, *stuck), Exit::peer_lost);
}

std::string MpiEngine::explain(const Queue& queue, const CallRecord& stuck) {
  const auto& members = queue.group.members;
  const auto known = ask_members(queue.group, stuck.number);
  std::ostringstream out;
  out.precision(3);
  out << stuck.name << " (number " << stuck.number << " of communicator " << queue.group.name << ", "
      << members.size() << " ranks) of step " << stuck.step << " did not finish within " << timeout_s_
      << " s: ";
  if (!known)
    out << "the MPI library of this rank does not return";
  else
    out << missing_ranks(members, layout_.rank, *known, stuck.number, stuck.name);
  return out.str();
}

// Nothing if this rank's own engine does not come round to asking.
std::optional<std::map<int, RankProgress>> MpiEngine::ask_members(const CommGroup& group, int64_t number) {
  using Answers = std::map<int, RankProgress>;
  const auto ticket = std::make_shared<std::atomic<int64_t>>(-1);
  const auto ask = [this, ticket, group, number] {
    *ticket = monitor_.ask(group.members, group.context, number);
  };
  if (!run_on_thread(ask, kAnswerTime)) return std::nullopt;
  Answers known;
  const auto start = Clock::now();
  do {
    std::this_thread::sleep_for(milliseconds(20));
    const auto result = std::make_shared<std::promise<Answers>>();
    auto future = result->get_future();
    if (!run_on_thread([this, ticket, result] { result->set_value(monitor_.answers(*ticket)); }, kAnswerTime))
      return std::nullopt;
    known = future.get();
  } while (static_cast<int>(known.size()) + 1 < group.size() && Clock::now() - start < kAnswerTime);
  return known;
}

// Runs on the engine's thread, for another rank or for explain().
RankProgress MpiEngine::progress_of(int context, int64_t number) {
  const std::lock_guard lock(mutex_);
  RankProgress progress;
  const Queue::Record* last = nullptr;
  std::string last_group;
  bool held_up = false;
  for (const auto& queue : queues_) {
    if (queue->history.empty()) continue;
    const auto& record = queue->history.back();
    if (!last || record.started > last->started) last = &record, last_group = queue->group.name;
    if (queue->group.context != context) continue;
    progress.issued = queue->reached;
    if (const auto* asked = queue->find(number)) {
      progress.call = asked->name;
      held_up = number > queue->reached;
    }
  }
  std::ostringstream out;
  out.precision(3);
  if (held_up) out << "it issued the call, but its GPU is held up by earlier work; ";
  out << "at step " << step_;
  if (last)
    out << ", last call " << last->name << " of " << last_group << " "
        << seconds(Clock::now() - last->started) << " s ago, "
        << (last->finished ? "finished" : "not finished");
  progress.where = out.str();
  return progress;
}

bool MpiEngine::run_on_thread(std::function<void()> task, milliseconds limit) {
  const auto ran = std::make_shared<std::promise<void>>();
  auto future = ran->get_future();
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back([task = std::move(task), ran] {
      task();
      ran->set_value();
    });
  }
  wake_.notify_one();
  return future.wait_for(limit) == std::future_status::ready;
}

void MpiEngine::run() {
  const c10::InferenceMode inference;
  try {
    loop();
  } catch (const std::exception& e) {
    end_alone(Exit::peer_lost, e.what());
  }
}

void MpiEngine::loop() {
  constexpr auto kSpin = milliseconds(1), kLetters = milliseconds(1), kIdleNap = milliseconds(20);
  auto last_move = Clock::now(), last_letters = last_move;
  while (true) {
    std::deque<std::function<void()>> tasks;
    bool idle = false;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
      tasks.swap(tasks_);
      idle = std::all_of(queues_.begin(), queues_.end(),
                         [](const auto& queue) { return queue->operations.empty(); });
    }
    for (const auto& task : tasks) task();
    const auto now = Clock::now();
    if (idle || now - last_letters > kLetters) {
      monitor_.poll();
      last_letters = now;
    }
    if (advance_all() || idle) last_move = now;
    if (!idle && now - last_move < kSpin) {
      sched_yield();
      continue;
    }
    // The longer peers are away, the longer the nap: a late one is noticed after 1 % of its delay, at most 5
    // ms.
    const auto away = std::chrono::duration_cast<milliseconds>((now - last_move) / 100);
    std::unique_lock lock(mutex_);
    if (stop_ || !tasks_.empty()) continue;
    wake_.wait_for(lock, idle ? kIdleNap : std::clamp(away, milliseconds(1), milliseconds(5)));
  }
}

bool MpiEngine::advance_all() {
  std::vector<std::pair<std::shared_ptr<Queue>, std::shared_ptr<Operation>>> heads;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& queue : queues_)
      if (!queue->operations.empty()) heads.emplace_back(queue, queue->operations.front());
  }
  bool any = false;
  for (auto& [queue, operation] : heads) {
    any = advance(*operation, queue->group) || any;
    if (operation->stages.empty() || operation->error) retire(*queue, *operation);
  }
  return any;
}

void MpiEngine::retire(Queue& queue, Operation& operation) {
  const std::lock_guard lock(mutex_);
  if (auto* record = queue.find(operation.number)) record->finished = true;
  if (operation.error) {
    queue.broken = operation.error;
    for (auto& waiting : queue.operations) {
      waiting->error = operation.error;
      waiting->finished = true;
    }
    queue.failed.assign(queue.operations.begin(), queue.operations.end());
    queue.operations.clear();
  } else {
    operation.call.out.reset();
    operation.call.in.reset();
    operation.finished = true;
    queue.operations.pop_front();
  }
  done_.notify_all();
}

// Whether anything happened.
bool MpiEngine::advance(Operation& operation, const CommGroup& group) {
  bool moved = false;
  try {
    while (!operation.stages.empty()) {
      Stage& stage = operation.stages.front();
      if (!operation.exchange) {
        operation.exchange.emplace(tag_of(group, operation), options_.max_message_bytes);
        stage.post(*operation.exchange);
        moved = true;
      }
      if (!operation.exchange->done()) return moved;
      moved = true;
      if (stage.then) stage.then();
      operation.exchange.reset();
      operation.stages.pop_front();
    }
  } catch (const Error& e) {
    operation.error = std::make_exception_ptr(Error(
        text_of(operation.name, " of ", group.name, ", step ", operation.step, ": ", e.what()), e.code()));
  } catch (const std::exception& e) {
    operation.error = std::make_exception_ptr(Error(text_of(operation.name, ": ", e.what()), Exit::failure));
  }
  return moved;
}

void MpiEngine::fail_all(Exit code, const std::string& message) noexcept {
  if (failing_.exchange(true)) {  // another thread was first: its message counts
    while (true) std::this_thread::sleep_for(milliseconds(1000));
  }
  std::cout << std::flush;
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back([this, failure = Failure{layout_.rank, code, message}] { monitor_.report(failure); });
  }
  wake_.notify_one();
  // Rank 0 needs a third of a second. If it does not act, the lowest of the failing ranks does.
  std::this_thread::sleep_for(milliseconds(2000 + 100 * std::min(layout_.rank, 10)));
  end_alone(code, message);
}

void MpiEngine::end_alone(Exit code, const std::string& message) noexcept {
  const Failure failure{layout_.rank, code, message};
  std::cerr << judge({failure}, static_cast<int>(layout_.node_of.size())).text << std::flush;
  mpi::abort(static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

}  // namespace orrery
