#pragma once
// A loop shared out over threads, for our own loops on the CPU. at::parallel_for, a template in ATen's
// header, runs on one thread in whatever is not compiled with -fopenmp, and with it would bring a second
// OpenMP beside LibTorch's own.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace orrery {
namespace detail {
inline thread_local bool is_in_parallel_for = false;
}

// Calls f(first, last) for runs of [begin, end) of at least grain, on at most at::get_num_threads() threads;
// returns, or throws what one of them threw, when all are done. Within such a loop it is one call.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  const int64_t count = end - begin,
                parts = std::min<int64_t>(at::get_num_threads(), (count + grain - 1) / grain);
  if (count <= 0) return;
  if (parts <= 1 || detail::is_in_parallel_for) return f(begin, end);
  std::vector<std::exception_ptr> errors(static_cast<size_t>(parts));
  const bool is_inference = c10::InferenceMode::is_enabled();
  const auto run = [&](int64_t part) {
    const c10::InferenceMode inference(is_inference);
    detail::is_in_parallel_for = true;
    try {
      f(begin + count * part / parts, begin + count * (part + 1) / parts);
    } catch (...) {
      errors[static_cast<size_t>(part)] = std::current_exception();
    }
    detail::is_in_parallel_for = false;
  };
  {
    std::vector<std::jthread> threads;
    for (int64_t part = 1; part < parts; ++part) threads.emplace_back(run, part);
    run(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace orrery
