#pragma once
// What the kernels over many tensors share: accesses of four elements, which tensor a block works on, and how
// an average moves.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace orrery::kernels::cuda {

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T at[4];
};
template <class T>
__device__ Four<T> load_four(const T* data, int64_t element) {
  return *reinterpret_cast<const Four<T>*>(data + element);
}
template <class T>
__device__ void store_four(T* data, int64_t element, const Four<T>& four) {
  *reinterpret_cast<Four<T>*>(data + element) = four;
}

// The last of `count` tensors that begins at or before this block.
inline __device__ int tensor_of_block(const unsigned* first_chunk, int count) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (first_chunk[middle] <= blockIdx.x ? low : high) = middle;
  }
  return low;
}

// As ATen's lerp: from the nearer end, so that both ends are met. Each rounding is written down: two kernels
// are to give the same bits.
inline __device__ float moved(float average, float weight, float rate) {
  return rate < 0.5f ? __fmaf_rn(rate, weight - average, average)
                     : __fmaf_rn(1.f - rate, average - weight, weight);
}

}  // namespace orrery::kernels::cuda
