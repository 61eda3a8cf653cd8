// adaln forward: a block a row at a time, or rather R rows, so that enough loads are under way. The row stays
// in registers: mean, then squared deviations, then the result. Rounds where the reference rounds, so no
// fused multiply-add after the statistics.
#include "ops/cuda/strips.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kRowsPerBlock = 16;

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(512, V == 1 ? 2 : 1) adaln_rows(const AdaLN a) {
  __shared__ BlockSums<R> sums, squares;
  clear(sums);
  clear(squares);
  __syncthreads();
  const Strip strip = strip_of(a.rows, kRowsPerBlock);
  const int64_t width = a.rows.width;
  const auto column = [](int v) { return (threadIdx.x + int64_t{v} * blockDim.x) * N; };
  float gain[V][N];
  Pack<T, N> shift[V];
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (column(v) >= width) continue;
    load<T, N>(a.scale.data, strip.frame * a.scale.stride + column(v)).unpack(gain[v]);
    shift[v] = load<T, N>(a.shift.data, strip.frame * a.shift.stride + column(v));
#pragma unroll
    for (int i = 0; i < N; ++i) gain[v][i] += 1.f;
    round_to<T>(gain[v]);
  }
#pragma unroll 1
  for (int64_t row = strip.begin; row < strip.end; row += R) {
    Pack<T, N> packs[R][V];
    float mean[R] = {}, rstd[R] = {}, x[N];
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v)
        if (row + r < strip.end && column(v) < width)
          packs[r][v] = load<T, N>(a.x, (row + r) * width + column(v));
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column(v) >= width) continue;
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
        if (row + r >= strip.end || column(v) >= width) continue;
        packs[r][v].unpack(x);
#pragma unroll
        for (int i = 0; i < N; ++i) rstd[r] += (x[i] - mean[r]) * (x[i] - mean[r]);
      }
    }
    block_sum(rstd, squares);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (row + r >= strip.end) continue;
      rstd[r] = 1.f / sqrtf(rstd[r] / static_cast<float>(width) + a.eps);
      if (threadIdx.x == 0) {
        a.mean[row + r] = mean[r];
        a.rstd[row + r] = rstd[r];
      }
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (column(v) >= width) continue;
        float shifts[N];
        shift[v].unpack(shifts);
        packs[r][v].unpack(x);
#pragma unroll
        for (int i = 0; i < N; ++i) x[i] = __fmul_rn(__fsub_rn(x[i], mean[r]), rstd[r]);
        round_to<T>(x);
#pragma unroll
        for (int i = 0; i < N; ++i) x[i] = __fmul_rn(x[i], gain[v][i]);
        round_to<T>(x);
#pragma unroll
        for (int i = 0; i < N; ++i) x[i] = __fadd_rn(x[i], shifts[i]);
        store<T>(a.y, (row + r) * width + column(v), x);
      }
    }
  }
}

}  // namespace

void launch(const AdaLN& a, Type type, cudaStream_t stream) {
  const int64_t strips = a.rows.frames() * ((a.rows.per_frame + kRowsPerBlock - 1) / kRowsPerBlock);
  with_type(type, [&]<class T>() {
    constexpr int64_t kWide = 16 / sizeof(T);
    const bool is_aligned = aligned(a.x, a.scale.data, a.shift.data, a.y) && a.scale.stride % kWide == 0 &&
                            a.shift.stride % kWide == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      constexpr int R = V == 1 ? 4 : V == 2 ? 2 : 1;
      adaln_rows<T, N, V, R><<<static_cast<unsigned>(strips), threads, 0, stream>>>(a);
    });
  });
}

}  // namespace orrery::kernels::cuda
