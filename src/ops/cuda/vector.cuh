#pragma once
// What the row kernels share: 16-byte accesses, rounding to a storage type, and the choice of a kernel's
// template arguments from a type and a width.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/cuda/entry.h"

namespace orrery::kernels::cuda {

// N neighbours of a row, read or written in one access, and rounded to T when made from floats.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];

  static __device__ Pack of(const float (&value)[N]) {
    Pack pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.at[i] = static_cast<T>(value[i]);
    return pack;
  }
  __device__ void unpack(float (&value)[N]) const {
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = static_cast<float>(at[i]);
  }
};

// Two half-precision numbers of a word. Packs stay words until they are used: compilers spend a register on
// each element of a struct of halves.
template <class T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
  static __device__ uint32_t word(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  static __device__ float2 values(uint32_t word) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
  }
};
template <>
struct Pair<__half> {
  static __device__ uint32_t word(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  static __device__ float2 values(uint32_t word) {
    return __half22float2(*reinterpret_cast<const __half2*>(&word));
  }
};

template <class T>
requires(sizeof(T) == 2) struct alignas(16) Pack<T, 8> {
  uint4 words;

  static __device__ Pack of(const float (&v)[8]) {
    return {{Pair<T>::word(v[0], v[1]), Pair<T>::word(v[2], v[3]), Pair<T>::word(v[4], v[5]),
             Pair<T>::word(v[6], v[7])}};
  }
  __device__ void unpack(float (&value)[8]) const {
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = Pair<T>::values(word[i]);
      value[2 * i] = pair.x;
      value[2 * i + 1] = pair.y;
    }
  }
};

template <class T, int N>
__device__ Pack<T, N> load(const void* data, int64_t element) {
  return *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(data) + element);
}
template <class T, int N>
__device__ void store(void* data, int64_t element, const float (&value)[N]) {
  *reinterpret_cast<Pack<T, N>*>(static_cast<T*>(data) + element) = Pack<T, N>::of(value);
}
// Rounds to T where the reference stores a T.
template <class T, int N>
__device__ void round_to(float (&value)[N]) {
  Pack<T, N>::of(value).unpack(value);
}

// One element of a tensor whose type the kernel is not compiled for.
inline __device__ float value_at(const void* data, Type type, int64_t element) {
  switch (type) {
    case Type::bfloat16:
      return static_cast<float>(static_cast<const __nv_bfloat16*>(data)[element]);
    case Type::float16:
      return static_cast<float>(static_cast<const __half*>(data)[element]);
    default:
      return static_cast<const float*>(data)[element];
  }
}

template <class... Pointers>
bool aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// Calls run.template operator()<T>() with the type that `type` stands for.
template <class Run>
void with_type(Type type, const Run& run) {
  switch (type) {
    case Type::float32:
      return run.template operator()<float>();
    case Type::bfloat16:
      return run.template operator()<__nv_bfloat16>();
    case Type::float16:
      return run.template operator()<__half>();
  }
}

// A block covers a row: thread i owns the packs i, i + threads, ... of it, V at most. Calls
// run.template operator()<N, V>(threads).
template <int N>
constexpr int64_t kMaxThreads = N == 1 ? 512 : 320;
template <int N, int V, class Run>
bool covers(int64_t packs, const Run& run) {
  if (packs > kMaxThreads<N> * V) return false;
  run.template operator()<N, V>(static_cast<unsigned>(((packs + V - 1) / V + 31) / 32 * 32));
  return true;
}
template <class T, class Run>
void with_columns(int64_t width, bool is_aligned, const Run& run) {  // width <= kMaxWidth
  constexpr int N = 16 / sizeof(T);
  if (is_aligned && width % N == 0)
    covers<N, 1>(width / N, run) || covers<N, 2>(width / N, run) || covers<N, 4>(width / N, run) ||
        covers<N, 32 / N>(width / N, run);
  else
    covers<1, 1>(width, run) || covers<1, 4>(width, run) || covers<1, 16>(width, run);
}

}  // namespace orrery::kernels::cuda
