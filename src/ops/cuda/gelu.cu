// GELU and its backward: element by element, so of the tensors' memory as it lies. A thread reads all of its
// packs before it computes, which takes many instructions a byte.
#include "ops/cuda/gelu_formula.h"
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N, int R>
__global__ void __launch_bounds__(kThreads) gelu_packs(const T* x, T* y, int64_t packs) {
  const int64_t first = int64_t{blockIdx.x} * (kThreads * R) + threadIdx.x;
  Pack<T, N> in[R];
#pragma unroll
  for (int r = 0; r < R; ++r)
    if (first + r * kThreads < packs) in[r] = load<T, N>(x, (first + r * kThreads) * N);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (first + r * kThreads >= packs) continue;
    float value[N];
    in[r].unpack(value);
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = gelu::value(value[i]);
    store<T>(y, (first + r * kThreads) * N, value);
  }
}

template <class T, int N, int R>
__global__ void __launch_bounds__(kThreads)
    gelu_backward_packs(const T* dout, const T* x, T* dx, int64_t packs) {
  const int64_t first = int64_t{blockIdx.x} * (kThreads * R) + threadIdx.x;
  Pack<T, N> in[R], gradient[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (first + r * kThreads >= packs) continue;
    in[r] = load<T, N>(x, (first + r * kThreads) * N);
    gradient[r] = load<T, N>(dout, (first + r * kThreads) * N);
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (first + r * kThreads >= packs) continue;
    float value[N], g[N];
    in[r].unpack(value);
    gradient[r].unpack(g);
#pragma unroll
    for (int i = 0; i < N; ++i) g[i] *= gelu::derivative(value[i]);
    store<T>(dx, (first + r * kThreads) * N, g);
  }
}

unsigned blocks_for(int64_t packs, int a_thread) {
  return static_cast<unsigned>((packs + kThreads * a_thread - 1) / (kThreads * a_thread));
}

// run.template operator()<N>(begin, packs) for packs of N from element `begin` on: 16 bytes wide as far as
// address and count allow, single elements for the rest.
template <class T, class Run>
void in_packs(int64_t count, bool is_aligned, const Run& run) {
  constexpr int N = 16 / sizeof(T);
  const int64_t wide = is_aligned ? count / N : 0, rest = count - wide * N;
  if (wide > 0) run.template operator()<N>(0, wide);
  if (rest > 0) run.template operator()<1>(wide * N, rest);
}

}  // namespace

void launch(const Gelu& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    const auto x = static_cast<const T*>(a.x);
    const auto y = static_cast<T*>(a.y);
    in_packs<T>(a.count, aligned(a.x, a.y), [&]<int N>(int64_t begin, int64_t packs) {
      constexpr int R = 4;
      gelu_packs<T, N, R><<<blocks_for(packs, R), kThreads, 0, stream>>>(x + begin, y + begin, packs);
    });
  });
}

void launch(const GeluBackward& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    const auto dout = static_cast<const T*>(a.dout), x = static_cast<const T*>(a.x);
    const auto dx = static_cast<T*>(a.dx);
    in_packs<T>(a.count, aligned(a.dout, a.x, a.dx), [&]<int N>(int64_t begin, int64_t packs) {
      constexpr int R = 2;
      gelu_backward_packs<T, N, R>
          <<<blocks_for(packs, R), kThreads, 0, stream>>>(dout + begin, x + begin, dx + begin, packs);
    });
  });
}

}  // namespace orrery::kernels::cuda
