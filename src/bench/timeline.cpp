#include "bench/timeline.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace orrery {

void wait_for_device(at::Device device) {
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

void Timeline::mark() {
  if (device_.is_cpu()) {
    moments_.push_back(Clock::now());
    return;
  }
  if (num_events_ == events_.size()) events_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  events_[num_events_++].record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

std::vector<double> Timeline::take_intervals_ms() {
  std::vector<double> out;
  for (size_t i = 1; i < moments_.size(); ++i)
    out.push_back(std::chrono::duration<double, std::milli>(moments_[i] - moments_[i - 1]).count());
  moments_.clear();
  wait_for_device(device_);
  for (size_t i = 1; i < num_events_; ++i) out.push_back(events_[i - 1].elapsedTime(events_[i]));
  num_events_ = 0;
  return out;
}

}  // namespace orrery
