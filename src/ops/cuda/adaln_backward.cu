// adaln backward: with n = (x - mean) rstd and g = dout (1 + scale), dx = rstd (g - mean(g) - n mean(g n));
// dscale = sum of dout n and dshift = sum of dout over the rows of a frame. A block sums columns over its
// strip in registers while it makes dx row by row.
#include "ops/cuda/strips.cuh"

namespace orrery::kernels::cuda {
namespace {

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(kMaxThreads<N>, kBlocks<N, V>) adaln_backward_rows(const AdaLNBackward a) {
  __shared__ BlockSums<2 * R> shared[2];
  clear(shared[0]);
  clear(shared[1]);
  __syncthreads();
  const Strip strip = strip_of(a.rows, kRowsPerStrip);
  const int64_t width = a.rows.width;
  Ahead<T, N, V, R> next_x(0, a.x, width), next_dout(1, a.dout, width);
  float next_mean[R], next_rstd[R];
  const auto fetch = [&](int64_t row) {
    next_x.start(row, strip.end);
    next_dout.start(row, strip.end);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (row + r >= strip.end) continue;
      next_mean[r] = a.mean[row + r];
      next_rstd[r] = a.rstd[row + r];
    }
  };
  fetch(strip.begin);
  Pack<T, N> scale[V];
  float dscale[V][N] = {}, dshift[V][N] = {}, gain[N];
#pragma unroll
  for (int v = 0; v < V; ++v)
    if (column_of<N>(v) < width)
      scale[v] = load<T, N>(a.scale.data, strip.frame * a.scale.stride + column_of<N>(v));
  int turn = 0;
#pragma unroll 1
  for (int64_t row = strip.begin; row < strip.end; row += R, turn ^= 1) {
    Pack<T, N> x[R][V], dout[R][V];
    float mean[R], rstd[R], sums[2 * R] = {}, norm[N], g[N];
    __pipeline_wait_prior(0);
    next_x.take(x);
    next_dout.take(dout);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      mean[r] = next_mean[r];
      rstd[r] = next_rstd[r];
    }
    fetch(row + R);
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column_of<N>(v) >= width) continue;
        x[r][v].unpack(norm);
        dout[r][v].unpack(g);
        scale[v].unpack(gain);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          gain[i] += 1.f;
          norm[i] = (norm[i] - mean[r]) * rstd[r];
          dscale[v][i] += g[i] * norm[i];
          dshift[v][i] += g[i];
          sums[2 * r] += g[i] * gain[i];
          sums[2 * r + 1] += g[i] * gain[i] * norm[i];
        }
      }
    block_sum(sums, shared[turn]);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float along_one = sums[2 * r] / static_cast<float>(width);
      const float along_norm = sums[2 * r + 1] / static_cast<float>(width);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row + r >= strip.end || column_of<N>(v) >= width) continue;
        x[r][v].unpack(norm);
        dout[r][v].unpack(g);
        scale[v].unpack(gain);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          gain[i] += 1.f;
          norm[i] = (norm[i] - mean[r]) * rstd[r];
          g[i] = rstd[r] * (g[i] * gain[i] - along_one - norm[i] * along_norm);
        }
        store<T>(a.dx, (row + r) * width + column_of<N>(v), g);
      }
    }
  }
  store_sums<N, V>(a.dscale, blockIdx.x, width, dscale);
  store_sums<N, V>(a.dshift, blockIdx.x, width, dshift);
}

}  // namespace

void launch(const AdaLNBackward& a, Type type, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(a.rows.frames() * strips_per_frame(a.rows)));
  with_type(type, [&]<class T>() {
    const bool is_aligned =
        aligned(a.x, a.dout, a.scale.data, a.dx) && a.scale.stride % (16 / sizeof(T)) == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      constexpr int R = V == 1 ? 2 : 1;
      launch_ahead(adaln_backward_rows<T, N, V, R>, a, grid, threads, 2 * Ahead<T, N, V, R>::kBytes, stream);
    });
  });
}

}  // namespace orrery::kernels::cuda
