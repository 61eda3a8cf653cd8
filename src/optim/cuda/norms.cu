// Norms of many tensors, in float64: a block a chunk, whose sum of squares is kept; then a block a tensor
// sums its chunks. The order depends on sizes alone, so the bits are the same every time.
#include "optim/cuda/chunks.cuh"
#include "optim/cuda/entry.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256, kUnroll = 4;
constexpr int kStep = kThreads * 4;
static_assert(kNormChunk % (kStep * kUnroll) == 0);

// Thread 0 gets the sum over the block.
__device__ double block_sum(double value) {
  __shared__ double of_warp[kThreads / 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x > 0) return 0;
  double total = 0;
#pragma unroll
  for (const double part : of_warp) total += part;
  return total;
}

template <class T>
__device__ double square(T value) {
  const double wide = static_cast<float>(value);
  return wide * wide;
}

template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares(const __grid_constant__ NormTable table) {
  const int t = tensor_of_block(table.first_chunk, table.count);
  const T* const data = static_cast<const T*>(table.data[t]);
  const int64_t begin = (blockIdx.x - table.first_chunk[t]) * kNormChunk,
                end = min(begin + kNormChunk, table.numel[t]);
  const int64_t vector_end = table.aligned[t] ? begin + (end - begin) / 4 * 4 : begin;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x * 4; i < vector_end; i += kStep * kUnroll) {
    Four<T> four[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k)
      if (i + k * kStep < vector_end) four[k] = load_four(data, i + k * kStep);
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      if (i + k * kStep >= vector_end) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) sum += square(four[k].at[e]);
    }
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads) sum += square(data[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) table.partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) finish_norms(const __grid_constant__ NormTable table) {
  const int t = static_cast<int>(blockIdx.x);
  double sum = 0;
  for (unsigned chunk = table.first_chunk[t] + threadIdx.x; chunk < table.first_chunk[t + 1];
       chunk += kThreads)
    sum += table.partial[chunk];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *table.norm[t] = sqrt(sum);
}

}  // namespace

void launch(const NormTable& table, GradType type, cudaStream_t stream) {
  const unsigned blocks = table.first_chunk[table.count];
  switch (type) {
    case GradType::float32:
      sum_squares<float><<<blocks, kThreads, 0, stream>>>(table);
      break;
    case GradType::bfloat16:
      sum_squares<__nv_bfloat16><<<blocks, kThreads, 0, stream>>>(table);
      break;
    case GradType::float16:
      sum_squares<__half><<<blocks, kThreads, 0, stream>>>(table);
      break;
  }
  finish_norms<<<static_cast<unsigned>(table.count), kThreads, 0, stream>>>(table);
}

}  // namespace orrery::kernels::cuda
