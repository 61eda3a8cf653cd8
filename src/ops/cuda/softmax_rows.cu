// softmax over long rows of float32, a block a row: one pass for the largest score and the sum, which a
// thread keeps for what it has seen so far, and one for the probabilities. A row stays in the L2 cache in
// between.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;

// Largest of some scores, and the sum of exp(score - largest).
struct Partial {
  float largest, sum;
};
__device__ Partial joined(Partial a, Partial b) {
  const float largest = fmaxf(a.largest, b.largest);
  if (largest == -INFINITY) return {largest, 0};
  return {largest, a.sum * __expf(a.largest - largest) + b.sum * __expf(b.largest - largest)};
}

__device__ Partial of_block(Partial mine) {
  __shared__ Partial of_warp[kWarps];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    mine = joined(mine, {__shfl_xor_sync(0xffffffffu, mine.largest, offset),
                         __shfl_xor_sync(0xffffffffu, mine.sum, offset)});
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  Partial all = of_warp[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) all = joined(all, of_warp[warp]);
  return all;
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) softmax_rows(const SoftmaxRows a) {
  const int64_t row = blockIdx.x, begin = row * a.width;
  Partial mine{-INFINITY, 0};
  for (int64_t column = int64_t{threadIdx.x} * N; column < a.width; column += int64_t{kThreads} * N) {
    float score[N];
    load<float, N>(a.scores, begin + column).unpack(score);
    Partial some{-INFINITY, 0};
#pragma unroll
    for (int i = 0; i < N; ++i) some.largest = fmaxf(some.largest, score[i] *= a.scale);
#pragma unroll
    for (int i = 0; i < N; ++i) some.sum += __expf(score[i] - some.largest);
    mine = joined(mine, some);
  }
  const Partial all = of_block(mine);
  const float inverse = 1.f / all.sum;
  if (threadIdx.x == 0) a.lse[row] = all.largest + logf(all.sum);
  for (int64_t column = int64_t{threadIdx.x} * N; column < a.width; column += int64_t{kThreads} * N) {
    float score[N];
    load<float, N>(a.scores, begin + column).unpack(score);
#pragma unroll
    for (int i = 0; i < N; ++i) score[i] = __expf(score[i] * a.scale - all.largest) * inverse;
    store<T>(a.p, begin + column, score);
  }
}

}  // namespace

void launch(const SoftmaxRows& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    const auto blocks = static_cast<unsigned>(a.rows);
    if (a.width % 4 == 0 && aligned(a.scores, a.p))
      softmax_rows<T, 4><<<blocks, kThreads, 0, stream>>>(a);
    else
      softmax_rows<T, 1><<<blocks, kThreads, 0, stream>>>(a);
  });
}

}  // namespace orrery::kernels::cuda
