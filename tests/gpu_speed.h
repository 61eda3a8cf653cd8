#pragma once
// Times of work on the GPU for the *speed*_gpu_test.cpp files, beside the rate at which the same GPU copies
// in the same run. The figures are for docs/performance.md; they decide nothing.
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

namespace orrery {

// Time of a call on the current stream.
inline double call_ms(const std::function<void()>& work) {
  const c10::Device device(c10::DeviceType::CUDA, 0);
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  c10::Event begin(device.type(), c10::EventFlag::BACKEND_DEFAULT),
      end(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  begin.record(stream);
  work();
  end.record(stream);
  end.synchronize();
  return begin.elapsedTime(end);
}

// Median of 21 calls, of fewer where they would take more than a second together, but of 3 at least. The
// first call, which loads and chooses kernels, never counts.
inline double median_ms(const std::function<void()>& work) {
  constexpr int kWarmUps = 5, kRuns = 21, kFewest = 3;
  constexpr double kEnough_ms = 1000;
  work();
  const double ms = call_ms(work);
  const int runs = std::clamp(static_cast<int>(kEnough_ms / std::max(ms, 1e-3)), kFewest, kRuns);
  std::vector<double> times;
  if (runs == kRuns)
    for (int i = 2; i < kWarmUps; ++i) work();
  else
    times.push_back(ms);
  while (std::ssize(times) < runs) times.push_back(call_ms(work));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// Prints bytes / time, absolutely and against the copy rate.
class SpeedTable {
 public:
  // copied, to: tensors of one size, too large for the caches.
  SpeedTable(const at::Tensor& to, const at::Tensor& copied) {
    const int64_t bytes = static_cast<int64_t>(2 * copied.nbytes());
    const double ms = median_ms([&] { to.copy_(copied); });
    copy_rate_ = static_cast<double>(bytes) / ms;
    print("copy", bytes, ms);
  }
  // bytes: what the work must read and write, each once.
  void row(const char* what, size_t bytes, const std::function<void()>& work) const {
    print(what, static_cast<int64_t>(bytes), median_ms(work));
  }

 private:
  void print(const char* what, int64_t bytes, double ms) const {
    const double rate = static_cast<double>(bytes) / ms;
    std::printf("speed: %-34s %5lld MB  %7.3f ms  %6.0f GB/s  %5.1f %% of copy\n", what,
                static_cast<long long>(bytes / 1000000), ms, rate / 1e6, 100 * rate / copy_rate_);
  }
  double copy_rate_ = 1;
};

}  // namespace orrery
