#pragma once
// CheckpointSaver: writes checkpoints while training goes on. The trainer calls it between steps, on every
// rank alike.
//
//   staging     the rank's rows are copied to one host buffer, under the next step's forward and backward;
//               before_update() holds the optimizer until the copy is done
//   writing     a thread writes and syncs the rank's file; replicas share the rows out, so nothing is written
//               twice
//   publishing  when all ranks have written, a thread of the first writes the manifest, renames the folder,
//               moves `latest` and removes old checkpoints
//
// Stages change in poll(), together on all ranks: the threads never communicate. A rank that fails makes the
// save fail on all; training goes on and the checkpoint before stays. At most one save is under way.
#include <atomic>
#include <functional>
#include <future>

#include "base/config.h"
#include "train/checkpoint.h"

namespace orrery {

struct SaveReport {
  enum class Outcome { saved, failed, skipped };
  Outcome outcome = Outcome::saved;
  int64_t step = 0;
  std::string reason = {};               // of failed and skipped; of saved: what went wrong after it
  double blocked_ms = 0, queued_ms = 0;  // training waited: for the copy; for the save before to end
  double write_ms = 0;                   // from begin to end
  int64_t bytes = 0;                     // of the checkpoint; on the first rank
};

class CheckpointSaver {
 public:
  using Report = std::function<void(const SaveReport&)>;
  // config_text goes into the manifest ("config"). report: called on every rank, in poll, save and finish.
  // Collective.
  CheckpointSaver(const Config& config, const RunState& run, std::string config_text, Report report);
  ~CheckpointSaver();  // gives up a save under way
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // The state after `step` optimizer steps. A save under way is waited for, or this one is skipped
  // (ckpt.when_busy); must_save: never skipped. Collective.
  void save(int64_t step, bool must_save);
  // After each step: moves a save on. Collective while one is under way.
  void poll();
  // Before weights, averages or optimizer change: waits for the copy.
  void before_update();
  // Waits for the save under way; false if the last save failed. Collective.
  bool finish();

  bool is_busy() const { return stage_ != Stage::idle; }

 private:
  enum class Stage { idle, writing, publishing };
  struct Piece;  // a tensor and its place in the buffer
  struct Job;

  void begin(int64_t step);
  std::vector<Piece> pieces() const;
  void stage(Job& job);
  void write(const Job& job) const;
  SaveReport publish(const std::filesystem::path& folder, int64_t step) const;
  void start_publishing();
  int64_t settle();
  void fail_all();
  void wait();
  bool keep_pace(int64_t bytes, double began_s) const;
  std::string file_stem(int rank) const;

  const Config& config_;
  RunState run_;
  const std::string config_text_;
  const Report report_;
  std::string nonce_;

  Stage stage_ = Stage::idle;
  std::filesystem::path folder_;
  SaveReport current_;
  std::string failure_;  // of this rank's threads, until the ranks have told each other
  double began_s_ = 0;
  bool last_failed_ = false;
  at::Tensor buffer_;  // reused from save to save
  std::future<void> staged_, writing_;
  std::future<SaveReport> publishing_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace orrery
