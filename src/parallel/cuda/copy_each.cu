// Copies many tensors: a block a chunk of a row, four elements a thread at a time, and eight times that under
// way.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "parallel/cuda/copy_entry.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256, kElements = 4, kUnroll = 8;
static_assert(kThreads * kElements * kUnroll == kCopyChunk);

template <class T>
struct alignas(kElements * sizeof(T)) Four {
  T at[kElements];
};
// In one access: of a struct, compilers may store each element by itself.
template <class T>
__device__ void store(T* to, const Four<T>& four) {
  using Words = std::conditional_t<sizeof(T) == 4, uint4, uint2>;
  static_assert(sizeof(Words) == sizeof(four));
  __stwb(reinterpret_cast<Words*>(to), *reinterpret_cast<const Words*>(&four));
}

template <class To, class From>
__device__ To converted(From value) {
  if constexpr (std::is_same_v<To, From>)
    return value;  // also the bits of a NaN
  else
    return static_cast<To>(static_cast<float>(value));
}

template <class To, class From, bool kAdds>
__device__ To combined(To old, From value) {
  if constexpr (kAdds)
    return static_cast<To>(static_cast<float>(old) + static_cast<float>(value));
  else
    return converted<To>(value);
}

// The last pair that begins at or before this block.
__device__ int pair_of_block(const CopyTable& table) {
  int low = 0, high = table.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table.first_chunk[middle] <= blockIdx.x ? low : high) = middle;
  }
  return low;
}

template <class To, class From, bool kAdds>
__device__ void copy_vectors(To* to, const From* from, int count) {
  Four<From> value[kUnroll];
  Four<To> old[kUnroll] = {};
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int i = (k * kThreads + threadIdx.x) * kElements;
    if (i >= count) continue;
    value[k] = *reinterpret_cast<const Four<From>*>(from + i);
    if constexpr (kAdds) old[k] = *reinterpret_cast<const Four<To>*>(to + i);
  }
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int i = (k * kThreads + threadIdx.x) * kElements;
    if (i >= count) continue;
    Four<To> result;
#pragma unroll
    for (int e = 0; e < kElements; ++e)
      result.at[e] = combined<To, From, kAdds>(old[k].at[e], value[k].at[e]);
    store(to + i, result);
  }
}

template <class To, class From, bool kAdds>
__global__ void __launch_bounds__(kThreads) copy_each(const __grid_constant__ CopyTable table) {
  const int t = pair_of_block(table);
  const unsigned chunk = blockIdx.x - table.first_chunk[t];
  const int64_t row = chunk / table.chunks_per_row[t], begin = chunk % table.chunks_per_row[t] * kCopyChunk;
  To* const to = static_cast<To*>(table.to[t]) + row * table.to_stride[t] + begin;
  const From* const from = static_cast<const From*>(table.from[t]) + row * table.from_stride[t] + begin;
  const int count = static_cast<int>(min(kCopyChunk, table.width[t] - begin));
  const int vectors = table.aligned[t] ? count / kElements * kElements : 0;
  copy_vectors<To, From, kAdds>(to, from, vectors);
  for (int i = vectors + threadIdx.x; i < count; i += kThreads)
    to[i] = combined<To, From, kAdds>(to[i], from[i]);
}

// Calls run.template operator()<T>() with the type that `type` stands for.
template <class Run>
void with_type(CopyType type, const Run& run) {
  switch (type) {
    case CopyType::float32:
      return run.template operator()<float>();
    case CopyType::bfloat16:
      return run.template operator()<__nv_bfloat16>();
    case CopyType::float16:
      return run.template operator()<__half>();
  }
}

}  // namespace

void launch(const CopyTable& table, CopyType to, CopyType from, bool adds, cudaStream_t stream) {
  const unsigned blocks = table.first_chunk[table.count];
  with_type(from, [&]<class From>() {
    if (adds) return copy_each<float, From, true><<<blocks, kThreads, 0, stream>>>(table);
    with_type(to, [&]<class To>() { copy_each<To, From, false><<<blocks, kThreads, 0, stream>>>(table); });
  });
}

}  // namespace orrery::kernels::cuda
