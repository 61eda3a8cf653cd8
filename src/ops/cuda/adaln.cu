// adaln forward: a block a row at a time, or rather R rows, so that enough loads are under way. The row stays
// in registers: mean, then squared deviations, then the result. Rounds where the reference rounds, so no
// fused multiply-add after the statistics.
#include "ops/cuda/strips.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kRowsPerBlock = 16;

// 1 + scale and shift of this thread's columns in a frame; a T each, as the reference rounds.
template <class T, int N, int V>
__device__ void load_modulation(const AdaLN& a, int64_t frame, Pack<T, N> (&gain)[V],
                                Pack<T, N> (&shift)[V]) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (column_of<N>(v) >= a.rows.width) continue;
    float scale[N];
    load<T, N>(a.scale.data, frame * a.scale.stride + column_of<N>(v)).unpack(scale);
    shift[v] = load<T, N>(a.shift.data, frame * a.shift.stride + column_of<N>(v));
#pragma unroll
    for (int i = 0; i < N; ++i) scale[i] += 1.f;
    gain[v] = Pack<T, N>::of(scale);
  }
}

// The row kernel's results, but for the last rounding.
template <class T, int N>
__device__ void modulate(float (&x)[N], float mean, float rstd, const Pack<T, N>& gain,
                         const Pack<T, N>& shift) {
  float gains[N], shifts[N];
  gain.unpack(gains);
  shift.unpack(shifts);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = __fmul_rn(__fsub_rn(x[i], mean), rstd);
  round_to<T>(x);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = __fmul_rn(x[i], gains[i]);
  round_to<T>(x);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = __fadd_rn(x[i], shifts[i]);
}

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(kMaxThreads<N>, kBlocks<N, V>) adaln_rows(const AdaLN a) {
  __shared__ BlockSums<R> sums, squares;
  clear(sums);
  clear(squares);
  __syncthreads();
  const Strip strip = strip_of(a.rows, kRowsPerBlock);
  const int64_t width = a.rows.width;
  Ahead<T, N, V, R> ahead(0, a.x, width);
  ahead.start(strip.begin, strip.end);
  Pack<T, N> gain[V], shift[V];
  load_modulation(a, strip.frame, gain, shift);
#pragma unroll 1
  for (int64_t row = strip.begin; row < strip.end; row += R) {
    Pack<T, N> packs[R][V];
    float mean[R] = {}, rstd[R] = {}, x[N];
    __pipeline_wait_prior(0);
    ahead.take(packs);
    ahead.start(row + R, strip.end);
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column_of<N>(v) >= width) continue;
        packs[r][v].unpack(x);
#pragma unroll
        for (int i = 0; i < N; ++i) mean[r] += x[i];
      }
    block_sum(mean, sums);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      mean[r] /= static_cast<float>(width);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column_of<N>(v) >= width) continue;
        packs[r][v].unpack(x);
#pragma unroll
        for (int i = 0; i < N; ++i) rstd[r] += (x[i] - mean[r]) * (x[i] - mean[r]);
      }
    }
    block_sum(rstd, squares);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (row + r >= strip.end) continue;
      rstd[r] = rsqrtf(rstd[r] / static_cast<float>(width) + a.eps);
      if (threadIdx.x == 0) {
        a.mean[row + r] = mean[r];
        a.rstd[row + r] = rstd[r];
      }
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (column_of<N>(v) >= width) continue;
        packs[r][v].unpack(x);
        modulate(x, mean[r], rstd[r], gain[v], shift[v]);
        store<T>(a.y, (row + r) * width + column_of<N>(v), x);
      }
    }
  }
}

}  // namespace

void launch(const AdaLN& a, Type type, cudaStream_t stream) {
  const int64_t strips = a.rows.frames() * ((a.rows.per_frame + kRowsPerBlock - 1) / kRowsPerBlock);
  const dim3 grid(static_cast<unsigned>(strips));
  with_type(type, [&]<class T>() {
    constexpr int64_t kWide = 16 / sizeof(T);
    const bool is_aligned = aligned(a.x, a.scale.data, a.shift.data, a.y) && a.scale.stride % kWide == 0 &&
                            a.shift.stride % kWide == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      constexpr int R = V == 1 ? 4 : V == 2 ? 2 : 1;
      launch_ahead(adaln_rows<T, N, V, R>, a, grid, threads, Ahead<T, N, V, R>::kBytes, stream);
    });
  });
}

}  // namespace orrery::kernels::cuda
