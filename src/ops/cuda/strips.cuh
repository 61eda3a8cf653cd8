#pragma once
// The geometry of the row kernels: a block works on a strip, consecutive rows of one frame, whose modulation
// its threads keep in registers. Column sums over a frame are sums within strips, and then over strips in
// column_sums.cu: the order depends on shapes alone, so the bits are the same every time.
#include <cuda_pipeline.h>

#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {

struct Strip {
  int64_t frame, begin, end;  // rows
};
inline __device__ Strip strip_of(const Rows& rows, int64_t rows_per_strip) {
  const int64_t strips = (rows.per_frame + rows_per_strip - 1) / rows_per_strip;
  const int64_t frame = blockIdx.x / strips, first = blockIdx.x % strips * rows_per_strip;
  const int64_t begin = frame * rows.per_frame + first;
  return {frame, begin, begin + min(rows_per_strip, rows.per_frame - first)};
}

// The first column of this thread's pack v of a row.
template <int N>
__device__ int64_t column_of(int v) {
  return (threadIdx.x + int64_t{v} * blockDim.x) * N;
}

// Blocks that an SM must have room for, by the elements of a row that a thread owns: 64, 96 or 200 registers.
template <int N, int V>
constexpr int kBlocks = N == 1       ? (V == 1 ? 2 : 1)
                        : N* V <= 8  ? 3
                        : N* V <= 16 ? 2
                                     : 1;

// R rows of a tensor that travel to shared memory while the block works on the rows before. Each thread reads
// what it copied itself, so there is no barrier.
template <class T, int N, int V, int R>
class Ahead {
 public:
  static constexpr unsigned kBytes = sizeof(Pack<T, N>) * V * R;  // of shared memory, a thread and tensor

  // tensor: which of those that this block fetches
  __device__ Ahead(int tensor, const void* data, int64_t width)
      : data_(static_cast<const T*>(data) + threadIdx.x * N),
        slot_(reinterpret_cast<Pack<T, N>*>(memory()) + tensor * V * R * blockDim.x + threadIdx.x),
        width_(width) {}

  __device__ void start(int64_t row, int64_t end) {
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const int64_t column = int64_t{v} * blockDim.x * N;
        if (row + r >= end || threadIdx.x * N + column >= width_) continue;
        const auto* from = reinterpret_cast<const Pack<T, N>*>(data_ + (row + r) * width_ + column);
        if constexpr (sizeof(Pack<T, N>) == 16)
          __pipeline_memcpy_async(slot_ + (r * V + v) * blockDim.x, from, 16);
        else
          slot_[(r * V + v) * blockDim.x] = *from;  // for rows that are not aligned
      }
    __pipeline_commit();
  }
  // After __pipeline_wait_prior. What lies beyond the end or the width is left from before.
  __device__ void take(Pack<T, N> (&packs)[R][V]) const {
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) packs[r][v] = slot_[(r * V + v) * blockDim.x];
  }

 private:
  static __device__ uint4* memory() {
    extern __shared__ uint4 ahead[];
    return ahead;
  }
  const T* data_;
  Pack<T, N>* slot_;
  int64_t width_;
};

// Launches a kernel that keeps `bytes` a thread in Ahead.
template <class Args>
void launch_ahead(void (*kernel)(Args), const Args& args, dim3 grid, unsigned threads, unsigned bytes,
                  cudaStream_t stream) {
  constexpr unsigned kAlwaysAllowed = 48 * 1024;
  if (threads * bytes > kAlwaysAllowed)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(threads * bytes));
  kernel<<<grid, threads, threads * bytes, stream>>>(args);
}

// Sums each of R values (a power of two) over the block; every thread gets the totals. `shared` must be
// another one in the call before and the call after: one barrier a call is enough then.
constexpr int kMaxWarps = 16;
static_assert(kMaxThreads<1> <= 32 * kMaxWarps);
template <int R>
struct BlockSums {
  float of_warp[R][kMaxWarps];  // those of warps that the block has not must be zero
};

template <int R>
__device__ void clear(BlockSums<R>& shared) {
  for (unsigned i = threadIdx.x; i < R * kMaxWarps; i += blockDim.x)
    shared.of_warp[i / kMaxWarps][i % kMaxWarps] = 0;
}

template <int R>
requires(R <= 32 && (R & (R - 1)) == 0) __device__ void block_sum(float (&value)[R], BlockSums<R>& shared) {
  // At each halving a lane keeps one half of its values and gives the other away, so that R values cost
  // R - 1 + log2(32 / R) exchanges, not 5 R. Value i ends in the lanes from i * 32 / R on.
  const unsigned lane = threadIdx.x % 32;
  int offset = 16;
#pragma unroll
  for (int count = R / 2; count > 0; count /= 2, offset /= 2) {
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float keep = upper ? value[i + count] : value[i], give = upper ? value[i] : value[i + count];
      value[i] = keep + __shfl_xor_sync(0xffffffffu, give, offset);
    }
  }
#pragma unroll
  for (int rest = 16 / R; rest > 0; rest /= 2) value[0] += __shfl_xor_sync(0xffffffffu, value[0], rest);
  if (lane % (32 / R) == 0) shared.of_warp[lane / (32 / R)][threadIdx.x / 32] = value[0];
  __syncthreads();
  // 32 / R lanes share the sums of the warps for one value.
  constexpr unsigned kEach = R == 1 ? 1 : R * kMaxWarps / 32;
  const float* const sums = &shared.of_warp[0][0] + (R == 1 ? lane % kMaxWarps : lane * kEach);
  float total = 0;
#pragma unroll
  for (unsigned i = 0; i < kEach; ++i) total += sums[i];
#pragma unroll
  for (int rest = R == 1 ? kMaxWarps / 2 : 16 / R; rest > 0; rest /= 2)
    total += __shfl_xor_sync(0xffffffffu, total, rest);
#pragma unroll
  for (int i = 0; i < R; ++i) value[i] = __shfl_sync(0xffffffffu, total, i * (32 / R));
}

// Column sums of a strip, written to row `strip` of partial (strips, width).
template <int N, int V>
__device__ void store_sums(float* partial, int64_t strip, int64_t width, const float (&sums)[V][N]) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const int64_t column = column_of<N>(v);
    if (column >= width) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) partial[strip * width + column + i] = sums[v][i];
  }
}

}  // namespace orrery::kernels::cuda
