// adaln backward: with n = (x - mean) rstd and g = dout (1 + scale), dx = rstd (g - mean(g) - n mean(g n));
// dscale = sum of dout n and dshift = sum of dout over the rows of a frame. A block sums columns over its
// strip in registers while it makes dx row by row.
#include "ops/cuda/strips.cuh"

namespace orrery::kernels::cuda {
namespace {

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(512, V == 1 ? 2 : 1) adaln_backward_rows(const AdaLNBackward a) {
  __shared__ BlockSums<2 * R> shared[2];
  clear(shared[0]);
  clear(shared[1]);
  __syncthreads();
  const Strip strip = strip_of(a.rows, kRowsPerStrip);
  const int64_t width = a.rows.width;
  const auto column = [](int v) { return (threadIdx.x + int64_t{v} * blockDim.x) * N; };
  float gain[V][N], dscale[V][N] = {}, dshift[V][N] = {};
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (column(v) >= width) continue;
    load<T, N>(a.scale.data, strip.frame * a.scale.stride + column(v)).unpack(gain[v]);
#pragma unroll
    for (int i = 0; i < N; ++i) gain[v][i] += 1.f;
  }
  int turn = 0;
#pragma unroll 1
  for (int64_t row = strip.begin; row < strip.end; row += R, turn ^= 1) {
    Pack<T, N> x[R][V], dout[R][V];
    float mean[R], rstd[R], sums[2 * R] = {}, norm[N], g[N];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (row + r >= strip.end) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (column(v) >= width) continue;
        x[r][v] = load<T, N>(a.x, (row + r) * width + column(v));
        dout[r][v] = load<T, N>(a.dout, (row + r) * width + column(v));
      }
      mean[r] = a.mean[row + r];
      rstd[r] = a.rstd[row + r];
    }
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column(v) >= width) continue;
        x[r][v].unpack(norm);
        dout[r][v].unpack(g);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          norm[i] = (norm[i] - mean[r]) * rstd[r];
          dscale[v][i] += g[i] * norm[i];
          dshift[v][i] += g[i];
          sums[2 * r] += g[i] * gain[v][i];
          sums[2 * r + 1] += g[i] * gain[v][i] * norm[i];
        }
      }
    block_sum(sums, shared[turn]);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float along_one = sums[2 * r] / static_cast<float>(width);
      const float along_norm = sums[2 * r + 1] / static_cast<float>(width);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column(v) >= width) continue;
        x[r][v].unpack(norm);
        dout[r][v].unpack(g);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          norm[i] = (norm[i] - mean[r]) * rstd[r];
          g[i] = rstd[r] * (g[i] * gain[v][i] - along_one - norm[i] * along_norm);
        }
        store<T>(a.dx, (row + r) * width + column(v), g);
      }
    }
  }
  store_sums<N, V>(a.dscale, blockIdx.x, width, dscale);
  store_sums<N, V>(a.dshift, blockIdx.x, width, dshift);
}

}  // namespace

void launch(const AdaLNBackward& a, Type type, cudaStream_t stream) {
  const auto strips = static_cast<unsigned>(a.rows.frames() * strips_per_frame(a.rows));
  with_type(type, [&]<class T>() {
    const bool is_aligned =
        aligned(a.x, a.dout, a.scale.data, a.dx) && a.scale.stride % (16 / sizeof(T)) == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      constexpr int R = V == 1 ? 2 : 1;
      adaln_backward_rows<T, N, V, R><<<strips, threads, 0, stream>>>(a);
    });
  });
}

}  // namespace orrery::kernels::cuda
