// gated_add: one thread an element, neighbours along a row. Product and sum are rounded to T once each, as
// eager PyTorch rounds them (so no fused multiply-add in float32).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/cuda/entry.h"

namespace orrery::kernels::cuda {
namespace {

template <class T>
__global__ void gated_add(const T* x, const T* gate, const T* y, T* out, int64_t numel,
                          int64_t numel_per_gate, int64_t width) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= numel) return;
  const float g = static_cast<float>(gate[i / numel_per_gate * width + i % width]);
  const T product = static_cast<T>(__fmul_rn(g, static_cast<float>(y[i])));
  out[i] = static_cast<T>(__fadd_rn(static_cast<float>(x[i]), static_cast<float>(product)));
}

template <class T>
void launch_as(const GatedAdd& a, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const int64_t numel = a.rows * a.width;
  const auto blocks = static_cast<unsigned>((numel + kThreads - 1) / kThreads);
  gated_add<T><<<blocks, kThreads, 0, stream>>>(static_cast<const T*>(a.x), static_cast<const T*>(a.gate),
                                                static_cast<const T*>(a.y), static_cast<T*>(a.out), numel,
                                                a.rows_per_gate * a.width, a.width);
}

}  // namespace

void launch(const GatedAdd& args, Type type, cudaStream_t stream) {
  switch (type) {
    case Type::float32:
      return launch_as<float>(args, stream);
    case Type::bfloat16:
      return launch_as<__nv_bfloat16>(args, stream);
    case Type::float16:
      return launch_as<__half>(args, stream);
  }
}

}  // namespace orrery::kernels::cuda
