#pragma once
// ReadAhead: what slow reads give, made by several threads and taken in order. Used where films are encoded
// while others are decoded.
#include <c10/core/InferenceMode.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

namespace orrery {

template <class T>
class ReadAhead {
 public:
  using Read = std::function<T(const std::stop_token&)>;
  using Plan = std::function<std::optional<Read>()>;  // the next read; none: that was the last

  // plan is called by one thread at a time, in the order of the results, and may be slow itself. At most
  // `depth` results are there or being made, besides the one that was taken last.
  ReadAhead(Plan plan, int64_t workers, int64_t depth) : plan_(std::move(plan)), depth_(depth) {
    for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ReadAhead() {  // at any time; waits for the reads under way, which are asked to stop
    stop_.request_stop();
    threads_.clear();
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // The next result; none after the last. Throws what its read, or the plan, threw.
  std::optional<T> next() {
    std::future<T> front;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !queue_.empty() || is_planned_; });
      if (queue_.empty()) return std::nullopt;
      front = std::move(queue_.front());
      queue_.pop_front();
      changed_.notify_all();
    }
    return front.get();
  }

 private:
  struct Task {
    Read read;
    std::promise<T> result;
  };

  void work() {
    const c10::InferenceMode guard;
    while (auto task = take()) {
      try {
        task->result.set_value(task->read(stop_.get_token()));
      } catch (...) {
        task->result.set_exception(std::current_exception());
      }
    }
  }

  std::optional<Task> take() {
    const std::scoped_lock planning(plan_mutex_);
    std::unique_lock lock(mutex_);
    const auto may_plan = [this] { return is_planned_ || static_cast<int64_t>(queue_.size()) < depth_; };
    if (!changed_.wait(lock, stop_.get_token(), may_plan) || stop_.stop_requested() || is_planned_)
      return std::nullopt;
    lock.unlock();
    Task task;
    std::optional<Read> read;
    std::exception_ptr error;
    try {
      read = plan_();
    } catch (...) {
      error = std::current_exception();
      task.result.set_exception(error);
    }
    lock.lock();
    if (read || error) queue_.push_back(task.result.get_future());
    is_planned_ = !read;
    changed_.notify_all();
    if (!read) return std::nullopt;
    task.read = std::move(*read);
    return task;
  }

  Plan plan_;
  const int64_t depth_;
  std::mutex plan_mutex_, mutex_;
  std::condition_variable_any changed_;
  std::deque<std::future<T>> queue_;
  bool is_planned_ = false;
  std::stop_source stop_;
  std::vector<std::jthread> threads_;
};

}  // namespace orrery
