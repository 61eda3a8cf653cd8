#pragma once
// Counts the calls of ATen in which the host waits for a CUDA device, while it lives. Not seen: waits that
// ask CUDA itself (a stream, an event, the device).
#include <c10/cuda/CUDAFunctions.h>
#include <c10/util/Backtrace.h>
#include <c10/util/Exception.h>

#include <string>

namespace orrery::test {

class SyncCounter final : public c10::WarningHandler {
 public:
  SyncCounter() : outer_(this) {
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_WARN);
  }
  ~SyncCounter() override {
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
  }
  void process(const c10::Warning& warning) override {
    if (warning.msg().find("synchronizing CUDA operation") == std::string::npos) return;
    ++count;
    places += c10::get_backtrace(/*frames_to_skip=*/2, /*maximum_number_of_frames=*/24) + "\n";
  }
  int64_t count = 0;
  std::string places;

 private:
  c10::WarningUtils::WarningHandlerGuard outer_;
};

}  // namespace orrery::test
