// Moves averages of many tensors towards the weights: a block a chunk, four elements a thread at a time.
#include "optim/cuda/chunks.cuh"
#include "optim/cuda/entry.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) average(const __grid_constant__ AverageTable table) {
  const int t = tensor_of_block(table.first_chunk, table.count);
  float* const averages = table.average[t];
  const T* const weights = static_cast<const T*>(table.weight[t]);
  const int64_t begin = (blockIdx.x - table.first_chunk[t]) * kChunk,
                end = min(begin + kChunk, table.numel[t]);
  const int64_t vector_end = table.aligned[t] ? begin + (end - begin) / 4 * 4 : begin;
  for (int64_t i = begin + threadIdx.x * 4; i < vector_end; i += kThreads * 4) {
    const Four<float> old = load_four(averages, i);
    const Four<T> weight = load_four(weights, i);
    Four<float> next;
#pragma unroll
    for (int k = 0; k < 4; ++k) next.at[k] = moved(old.at[k], static_cast<float>(weight.at[k]), table.rate);
    store_four(averages, i, next);
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads)
    averages[i] = moved(averages[i], static_cast<float>(weights[i]), table.rate);
}

}  // namespace

void launch(const AverageTable& table, GradType type, cudaStream_t stream) {
  const unsigned blocks = table.first_chunk[table.count];
  switch (type) {
    case GradType::float32:
      return average<float><<<blocks, kThreads, 0, stream>>>(table);
    case GradType::bfloat16:
      return average<__nv_bfloat16><<<blocks, kThreads, 0, stream>>>(table);
    case GradType::float16:
      return average<__half><<<blocks, kThreads, 0, stream>>>(table);
  }
}

}  // namespace orrery::kernels::cuda
