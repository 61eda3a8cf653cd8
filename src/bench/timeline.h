#pragma once
// Timeline: marks that cut a device's time into intervals. On a GPU they are events of the current stream, so
// an interval is what the stream took, not the host; on the CPU they are moments of its clock. Used by
// LabelTimes and OpBench.
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <chrono>
#include <vector>

namespace orrery {

class Timeline {
 public:
  explicit Timeline(at::Device device) : device_(device) {}

  void mark();
  // Milliseconds between consecutive marks, which are forgotten. Waits for the device.
  std::vector<double> take_intervals_ms();

 private:
  using Clock = std::chrono::steady_clock;
  at::Device device_;
  std::vector<Clock::time_point> moments_;  // on the CPU
  std::vector<c10::Event> events_;          // recorded again from the first after each take
  size_t num_events_ = 0;
};

// Until all that was queued on the device is done. The CPU has no queue.
void wait_for_device(at::Device device);

}  // namespace orrery
