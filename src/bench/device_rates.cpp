#include "bench/device_rates.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include <algorithm>

#include "bench/timeline.h"

namespace orrery {
namespace {

constexpr int64_t kWarmUp = 3;

int64_t large_matrix(at::Device device) {
  return device.is_cpu() ? 512 : 8192;
}
int64_t large_copy_bytes(at::Device device) {
  return int64_t{1} << (device.is_cpu() ? 25 : 30);
}

}  // namespace

CallTimer::CallTimer(at::Device device, at::ScalarType type)
    : device_(device),
      square_(
          at::randn({large_matrix(device), large_matrix(device)}, at::TensorOptions(device).dtype(type))) {}

void CallTimer::keep_busy() const {
  constexpr int kProducts = 10;  // some milliseconds
  for (int i = 0; i < kProducts && !device_.is_cpu(); ++i) at::mm(square_, square_);
}

double CallTimer::ms_of(const std::function<void()>& run, int64_t repeats) const {
  for (int64_t i = 0; i < kWarmUp; ++i) run();
  keep_busy();
  Timeline timeline(device_);
  timeline.mark();
  for (int64_t i = 0; i < repeats; ++i) {
    run();
    timeline.mark();
  }
  std::vector<double> ms = timeline.take_intervals_ms();
  std::nth_element(ms.begin(), ms.begin() + static_cast<std::ptrdiff_t>(ms.size() / 2), ms.end());
  return ms[ms.size() / 2];
}

double DeviceRates::floor_ms(double flops, double bytes) const {
  return std::max(1e-9 * flops / matmul_tflops, 1e-6 * bytes / copy_gb_per_s);
}

DeviceRates measure_rates(const CallTimer& timer, int64_t repeats) {
  const at::Tensor& square = timer.square();
  const auto n = static_cast<double>(square.size(0));
  DeviceRates rates{.matmul_size = square.size(0)};
  rates.matmul_tflops = 2e-9 * n * n * n / timer.ms_of([&] { at::mm(square, square); }, repeats);
  const int64_t bytes = large_copy_bytes(square.device());
  const at::Tensor from = at::randn({bytes / 4}, square.options().dtype(at::kFloat)),
                   to = at::empty_like(from);
  rates.copy_gb_per_s = 2e-6 * static_cast<double>(bytes) / timer.ms_of([&] { to.copy_(from); }, repeats);
  return rates;
}

}  // namespace orrery
