// rope: a thread turns N pairs of kHeads heads of a token, for which it reads the angles once. Products and
// their sum are rounded to float32 once each and the result to T, as the reference does.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kHeads = 4;

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) rotate(const Rope a, unsigned threads) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= threads) return;
  const unsigned lanes = static_cast<unsigned>(a.half) / N;
  const unsigned groups = (static_cast<unsigned>(a.heads) + kHeads - 1) / kHeads;
  const unsigned lane = index % lanes, group = index / lanes % groups, token = index / lanes / groups;
  const int64_t angle = token % static_cast<unsigned>(a.positions) * a.half + lane * N;
  float cos[N], sin[N];
  constexpr int kAngles = N < 4 ? N : 4;
#pragma unroll
  for (int from = 0; from < N; from += kAngles) {
    const auto c = load<float, kAngles>(a.cos, angle + from), s = load<float, kAngles>(a.sin, angle + from);
#pragma unroll
    for (int i = 0; i < kAngles; ++i) {
      cos[from + i] = c.at[i];
      sin[from + i] = a.inverse ? -s.at[i] : s.at[i];
    }
  }
  const unsigned first = group * kHeads;
  const int64_t begin = (token * a.heads + first) * 2 * a.half + lane * N;
  Pack<T, N> left[kHeads], right[kHeads];
#pragma unroll
  for (unsigned h = 0; h < kHeads; ++h) {
    if (first + h >= a.heads) continue;
    left[h] = load<T, N>(a.x, begin + h * 2 * a.half);
    right[h] = load<T, N>(a.x, begin + h * 2 * a.half + a.half);
  }
#pragma unroll
  for (unsigned h = 0; h < kHeads; ++h) {
    if (first + h >= a.heads) continue;
    float l[N], r[N], turned[N];
    left[h].unpack(l);
    right[h].unpack(r);
#pragma unroll
    for (int i = 0; i < N; ++i) turned[i] = __fsub_rn(__fmul_rn(l[i], cos[i]), __fmul_rn(r[i], sin[i]));
    store<T>(a.y, begin + h * 2 * a.half, turned);
#pragma unroll
    for (int i = 0; i < N; ++i) turned[i] = __fadd_rn(__fmul_rn(r[i], cos[i]), __fmul_rn(l[i], sin[i]));
    store<T>(a.y, begin + h * 2 * a.half + a.half, turned);
  }
}

template <class T, int N>
void launch_as(const Rope& a, cudaStream_t stream) {
  const auto threads = static_cast<unsigned>(a.tokens * ((a.heads + kHeads - 1) / kHeads) * (a.half / N));
  rotate<T, N><<<(threads + kThreads - 1) / kThreads, kThreads, 0, stream>>>(a, threads);
}

}  // namespace

void launch(const Rope& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    constexpr int N = 16 / sizeof(T);
    if (aligned(a.x, a.y, a.cos, a.sin) && a.half % N == 0)
      launch_as<T, N>(a, stream);
    else
      launch_as<T, 1>(a, stream);
  });
}

}  // namespace orrery::kernels::cuda
