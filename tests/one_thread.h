#pragma once
// For tests of many small kernels: on a busy machine threads that wait for each other take most of the time.
#include <ATen/Parallel.h>

namespace orrery::test {

class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_ = at::get_num_threads();
};

}  // namespace orrery::test
