#pragma once
// FolderLock: one job at a time in a run folder. Held by the first rank of a training run.
//
// FOLDER/lock is locked with flock, which ends with the process that holds it, and says who that is. Where
// the system has no flock, or does not share it between hosts, the holder's heartbeat in the file decides: a
// newcomer from another host watches it for a while, by its own steady clock, and takes a lock whose
// heartbeat stands still. So a dead job holds nothing, and a clock that jumps changes nothing. Of two that
// take it at once the last to write has it; the other sees that at its next heartbeat.
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

namespace orrery {

struct FolderLockOptions {
  double heartbeat_s = 5;
  double watch_s = 16;  // how long another host's heartbeat is watched; above three heartbeats
};

class FolderLock {
 public:
  // Throws Error that names the holder's host and process if another job has the folder.
  explicit FolderLock(const std::filesystem::path& folder, const FolderLockOptions& options = {});
  ~FolderLock();
  // Throws Error that names the other job once the file shows that it has taken the folder: two newcomers on
  // hosts that do not share flock, or a holder that stood still for too long. Known a heartbeat later. Never
  // waits for the file system, so that each step may ask.
  void require_held();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  struct Line;
  static Line line_of(const std::string& text);
  bool differs_within(double seconds, const Line& line) const;
  void beat();
  void notice_other_holder();
  void write(const std::string& state);

  std::filesystem::path path_;
  FolderLockOptions options_;
  std::string holder_;
  int fd_ = -1;
  int64_t beats_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::string lost_to_;  // the other job, in words; written once, before is_lost_
  std::atomic<bool> is_lost_ = false;
  std::thread thread_;
};

}  // namespace orrery
