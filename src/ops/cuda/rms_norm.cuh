#pragma once
// What the kernels of rms_norm share: L lanes a row, so that a warp works on 32 / L rows, and K rows a lane
// at a time, so that enough loads are under way.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda::rms {

constexpr int kThreads = 256;
constexpr int K = 4;
constexpr int64_t kMaxBlocks = 1024;  // of the backward: rows of sums for the second stage

// What a lane has of each row: V packs of N, `lanes` * N apart.
template <int N, int V, int L>
struct Lane {
  static constexpr int kGroups = kThreads / L;  // rows of a block at a time
  int64_t group = threadIdx.x / L, lane = threadIdx.x % L;
  __device__ int64_t column(int v) const { return (lane + int64_t{v} * L) * N; }
};

template <int L>
__device__ float lane_sum(float value) {
#pragma unroll
  for (int offset = L / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <int N, int V, int L>
__device__ void load_weight(float (&weight)[V][N], const Lane<N, V, L>& my, const void* data, Type type,
                            int64_t width) {
#pragma unroll
  for (int v = 0; v < V; ++v)
#pragma unroll
    for (int i = 0; i < N; ++i)
      weight[v][i] = my.column(v) + i < width ? value_at(data, type, my.column(v) + i) : 0.f;
}

// A block's row of sums for the second stage, of what its threads have.
template <int N, int V, int L>
__device__ void store_sums(float* sums_of_blocks, const float (&mine)[V][N], const Lane<N, V, L>& my,
                           int64_t width) {
  __shared__ float sums[Lane<N, V, L>::kGroups][N * V * L];
#pragma unroll
  for (int v = 0; v < V; ++v)
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (my.column(v) + i < width) sums[my.group][my.column(v) + i] = mine[v][i];
  __syncthreads();
  for (int64_t column = threadIdx.x; column < width; column += kThreads) {
    float total = 0;
    for (int group = 0; group < my.kGroups; ++group) total += sums[group][column];
    sums_of_blocks[blockIdx.x * width + column] = total;
  }
}

// The rows of a backward block. They depend on the count alone, and so does the order of sums.
inline int64_t rows_per_block(int64_t count) {
  constexpr int64_t kStep = 64;  // of any kernel's rows at a time a multiple
  const int64_t each = (count + kMaxBlocks - 1) / kMaxBlocks;
  return (each + kStep - 1) / kStep * kStep;
}

}  // namespace orrery::kernels::cuda::rms
