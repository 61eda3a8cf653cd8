#pragma once
// What a device reaches on large products of matrices and large copies: what OpBench and VaeBench hold their
// figures against, measured beside them.
#include <ATen/core/Tensor.h>

#include <functional>

namespace orrery {

// Times calls on a device. On a GPU they are queued behind products of matrices that keep it busy until the
// host is ahead, so that they are timed without gaps, at the clock that it has in a step.
class CallTimer {
 public:
  CallTimer(at::Device device, at::ScalarType type);

  void keep_busy() const;
  // Median milliseconds of `repeats` calls, after some that are not counted.
  double ms_of(const std::function<void()>& run, int64_t repeats) const;
  const at::Tensor& square() const { return square_; }  // a large matrix of random numbers

 private:
  at::Device device_;
  at::Tensor square_;
};

struct DeviceRates {
  int64_t matmul_size = 0;  // of the square matrices
  double matmul_tflops = 0;
  double copy_gb_per_s = 0;  // read and written

  // The least time for so many FLOPs and bytes: whichever takes longer.
  double floor_ms(double flops, double bytes) const;
};
DeviceRates measure_rates(const CallTimer& timer, int64_t repeats);

}  // namespace orrery
