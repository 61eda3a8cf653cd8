// Bias and residual of a convolution whose kernel adds neither: one pass in place.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N>
__global__ void __launch_bounds__(kThreads) bias_add_pixels(const BiasAdd a) {
  const int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (at >= a.pixels * a.channels) return;
  float value[N], term[N];
  load<T, N>(a.y, at).unpack(value);
  if (a.bias) {
    load<T, N>(a.bias, at % a.channels).unpack(term);
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] += term[i];
  }
  if (a.residual) {
    load<T, N>(a.residual, at).unpack(term);
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] += term[i];
  }
  store<T>(a.y, at, value);
}

template <class T, int N>
void start(const BiasAdd& a, cudaStream_t stream) {
  const int64_t packs = a.pixels * a.channels / N;
  bias_add_pixels<T, N><<<static_cast<unsigned>((packs + kThreads - 1) / kThreads), kThreads, 0, stream>>>(a);
}

}  // namespace

void launch(const BiasAdd& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    constexpr int N = 16 / sizeof(T);
    if (a.channels % N == 0 && aligned(a.y) && aligned(a.bias) && aligned(a.residual))
      start<T, N>(a, stream);
    else
      start<T, 1>(a, stream);
  });
}

}  // namespace orrery::kernels::cuda
