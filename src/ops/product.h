#pragma once
// Products of two matrices on a GPU by cuBLASLt, whose algorithm is chosen by time at a shape's first call.
// Used by ops/linear.cpp with numerics.tune; what was chosen is for tests and orrery bench train.
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace orrery::kernels {

// Whether kernels may be chosen by time: with at::Context's benchmarkCuDNN (choose_kernels of base/numerics.h
// sets it), and not where the same bits are wanted every time.
inline bool chooses_by_time() {
  const at::Context& context = at::globalContext();
  return context.benchmarkCuDNN() && !context.deterministicAlgorithms();
}

}  // namespace orrery::kernels

namespace orrery::kernels::cuda {

// a (m,k) times b (k,n), both bfloat16 or both float16 and either transposed as it lies: row-major (m,n) of
// that type, summed in float32 and rounded once. With chooses_by_time() a shape's first call on a thread
// times the algorithms that cuBLAS names and waits for the device; without, it takes cuBLAS's first. Other
// types and layouts, empty matrices, and what cuBLASLt refuses go to at::mm, which gives its errors.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

struct TimedProduct {
  int64_t m, k, n;
  std::string layout;  // "nt": a as it is, b transposed
  at::ScalarType type;
  int64_t tried;             // algorithms that ran
  double first_ms, best_ms;  // of cuBLAS's first that ran, of the chosen one
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  }
};

// What became of this thread's products.
struct Products {
  int64_t plans = 0, runs = 0, refused = 0;  // shapes that cuBLASLt takes; calls by it, calls by at::mm
  std::string last_refusal;                  // why
  std::vector<TimedProduct> timed;           // the shapes whose algorithm was chosen by time
};
Products products();

}  // namespace orrery::kernels::cuda
