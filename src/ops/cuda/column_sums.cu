// The second stage of sums over rows: 32 columns a block, each by S threads that take every S-th strip. With
// few strips a frame, blocks of fewer threads have more loads each.
#include <algorithm>

#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kColumns = 32, kFew = 8, kMany = 32;  // kFew threads a column up to kFewStrips
constexpr int64_t kFewStrips = 128;

template <class T, int S>
__global__ void column_sums(const __grid_constant__ ColumnSums a) {
  __shared__ float sums[S][kColumns];
  const int64_t column = int64_t{blockIdx.x} * kColumns + threadIdx.x, frame = blockIdx.y;
  const float* partial = a.partial[blockIdx.z];
  void* out = a.out[blockIdx.z];
  if (out == nullptr) return;
  float sum = 0;
  if (column < a.width) {
#pragma unroll 8
    for (int64_t strip = threadIdx.y; strip < a.strips; strip += S)
      sum += partial[(frame * a.strips + strip) * a.width + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= a.width) return;
  float total = 0;
#pragma unroll
  for (int i = 0; i < S; ++i) total += sums[i][threadIdx.x];
  static_cast<T*>(out)[frame * a.width + column] = static_cast<T>(total);
}

}  // namespace

void launch(const ColumnSums& args, Type type, cudaStream_t stream) {
  constexpr int64_t kMaxFrames = 65535;  // of a grid's second dimension
  for (int64_t first = 0; first < args.frames; first += kMaxFrames) {
    ColumnSums part = args;
    part.frames = std::min(kMaxFrames, args.frames - first);
    with_type(type, [&]<class T>() {
      for (int k = 0; k < 2; ++k) {
        if (part.out[k] == nullptr) continue;
        part.partial[k] += first * args.strips * args.width;
        part.out[k] = static_cast<T*>(part.out[k]) + first * args.width;
      }
      const dim3 grid(static_cast<unsigned>((args.width + kColumns - 1) / kColumns),
                      static_cast<unsigned>(part.frames), 2);
      if (args.strips <= kFewStrips)
        column_sums<T, kFew><<<grid, dim3(kColumns, kFew), 0, stream>>>(part);
      else
        column_sums<T, kMany><<<grid, dim3(kColumns, kMany), 0, stream>>>(part);
    });
  }
}

}  // namespace orrery::kernels::cuda
