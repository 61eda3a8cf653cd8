// rms_norm over short rows, such as the heads of q and k.
#include "ops/cuda/rms_norm.cuh"

namespace orrery::kernels::cuda {
namespace {

using namespace rms;

template <class T, int N, int V, int L>
__global__ void __launch_bounds__(kThreads, V == 1 ? 4 : 1) rms_norm_rows(const RmsNorm a) {
  const Lane<N, V, L> my;
  float weight[V][N];
  load_weight(weight, my, a.weight, a.weight_type, a.width);
  const int64_t first = int64_t{blockIdx.x} * my.kGroups * K + my.group;
  Pack<T, N> packs[K][V];
#pragma unroll
  for (int k = 0; k < K; ++k)
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (first + k * my.kGroups < a.count && my.column(v) < a.width)
        packs[k][v] = load<T, N>(a.x, (first + k * my.kGroups) * a.width + my.column(v));
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t row = first + k * my.kGroups;
    float square = 0, x[N];
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (row >= a.count || my.column(v) >= a.width) continue;
      packs[k][v].unpack(x);
#pragma unroll
      for (int i = 0; i < N; ++i) square += x[i] * x[i];
    }
    const float rstd = rsqrtf(lane_sum<L>(square) / static_cast<float>(a.width) + a.eps);
    if (row >= a.count) continue;
    if (my.lane == 0) a.rstd[row] = rstd;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (my.column(v) >= a.width) continue;
      packs[k][v].unpack(x);
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = __fmul_rn(__fmul_rn(x[i], rstd), weight[v][i]);
      store<T>(a.y, row * a.width + my.column(v), x);
    }
  }
}

// With n = x rstd and g = dout weight: dx = rstd (g - n mean(g n)), dweight = sum of dout n over the rows.
template <class T, int N, int V, int L>
__global__ void __launch_bounds__(kThreads, V == 1 ? 4 : 1)
    rms_norm_backward_rows(const RmsNormBackward a, int64_t rows_per_block) {
  constexpr int kRows = V == 1 ? K / 2 : 1;
  const Lane<N, V, L> my;
  float weight[V][N], dweight[V][N] = {};
  load_weight(weight, my, a.weight, a.weight_type, a.width);
  const int64_t begin = int64_t{blockIdx.x} * rows_per_block, end = min(begin + rows_per_block, a.count);
#pragma unroll 1
  for (int64_t start = begin; start < end; start += my.kGroups * kRows) {
    Pack<T, N> x[kRows][V], dout[kRows][V];
    float rstd[kRows], norm[N], g[N];
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int64_t row = start + k * my.kGroups + my.group;
      if (row >= end) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (my.column(v) >= a.width) continue;
        x[k][v] = load<T, N>(a.x, row * a.width + my.column(v));
        dout[k][v] = load<T, N>(a.dout, row * a.width + my.column(v));
      }
      rstd[k] = a.rstd[row];
    }
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int64_t row = start + k * my.kGroups + my.group;
      float along = 0;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row >= end || my.column(v) >= a.width) continue;
        x[k][v].unpack(norm);
        dout[k][v].unpack(g);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          norm[i] *= rstd[k];
          dweight[v][i] += g[i] * norm[i];
          along += g[i] * weight[v][i] * norm[i];
        }
      }
      along = lane_sum<L>(along) / static_cast<float>(a.width);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (row >= end || my.column(v) >= a.width) continue;
        x[k][v].unpack(norm);
        dout[k][v].unpack(g);
#pragma unroll
        for (int i = 0; i < N; ++i) g[i] = rstd[k] * (g[i] * weight[v][i] - norm[i] * rstd[k] * along);
        store<T>(a.dx, row * a.width + my.column(v), g);
      }
    }
  }
  store_sums(a.dweight, dweight, my, a.width);
}

// Calls run.template operator()<N, V, L>() for rows of `width`, at most kMaxNormWidth.
template <class T, class Run>
void with_lanes(int64_t width, bool is_aligned, const Run& run) {
  constexpr int N = 16 / sizeof(T);
  if (is_aligned && width % N == 0 && width <= 32 * 2 * N) {
    if (width <= 8 * N) return run.template operator()<N, 1, 8>();
    if (width <= 16 * N) return run.template operator()<N, 1, 16>();
    if (width <= 32 * N) return run.template operator()<N, 1, 32>();
    return run.template operator()<N, 2, 32>();
  }
  if (width <= 32) return run.template operator()<1, 1, 32>();
  return run.template operator()<1, 8, 32>();
}

}  // namespace

int64_t norm_blocks(int64_t count) {
  return (count + rows_per_block(count) - 1) / rows_per_block(count);
}

void launch(const RmsNorm& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    with_lanes<T>(a.width, aligned(a.x, a.y), [&]<int N, int V, int L>() {
      constexpr int64_t kRows = kThreads / L * K;
      rms_norm_rows<T, N, V, L>
          <<<static_cast<unsigned>((a.count + kRows - 1) / kRows), kThreads, 0, stream>>>(a);
    });
  });
}

void launch(const RmsNormBackward& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    with_lanes<T>(a.width, aligned(a.x, a.dout, a.dx), [&]<int N, int V, int L>() {
      rms_norm_backward_rows<T, N, V, L>
          <<<static_cast<unsigned>(norm_blocks(a.count)), kThreads, 0, stream>>>(a, rows_per_block(a.count));
    });
  });
}

}  // namespace orrery::kernels::cuda
