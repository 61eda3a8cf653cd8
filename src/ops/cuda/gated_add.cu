// gated_add: product and sum are rounded to T once each, as eager PyTorch rounds them (so no fused
// multiply-add in float32). Backward: dy = dout * gate, and dgate = sum of dout * y over the rows of a frame.
#include "ops/cuda/strips.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kRowsPerBlock = 16;

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(kMaxThreads<N>, kBlocks<N, V>) gated_add_rows(const GatedAdd a) {
  const Strip strip = strip_of(a.rows, kRowsPerBlock);
  const int64_t width = a.rows.width;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const int64_t column = column_of<N>(v);
    if (column >= width) continue;
    float gate[N];
    load<T, N>(a.gate.data, strip.frame * a.gate.stride + column).unpack(gate);
#pragma unroll 1
    for (int64_t row = strip.begin; row < strip.end; row += R) {
      Pack<T, N> x[R], y[R];
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (row + r >= strip.end) continue;
        x[r] = load<T, N>(a.x, (row + r) * width + column);
        y[r] = load<T, N>(a.y, (row + r) * width + column);
      }
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (row + r >= strip.end) continue;
        float sum[N], product[N];
        x[r].unpack(sum);
        y[r].unpack(product);
#pragma unroll
        for (int i = 0; i < N; ++i) product[i] = __fmul_rn(gate[i], product[i]);
        round_to<T>(product);
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] = __fadd_rn(sum[i], product[i]);
        store<T>(a.out, (row + r) * width + column, sum);
      }
    }
  }
}

template <class T, int N, int V, int R>
__global__ void __launch_bounds__(kMaxThreads<N>, kBlocks<N, V>)
    gated_add_backward_rows(const GatedAddBackward a) {
  const Strip strip = strip_of(a.rows, kRowsPerStrip);
  const int64_t width = a.rows.width;
  float dgate[V][N] = {};
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const int64_t column = column_of<N>(v);
    if (column >= width) continue;
    float gate[N];
    load<T, N>(a.gate.data, strip.frame * a.gate.stride + column).unpack(gate);
#pragma unroll 1
    for (int64_t row = strip.begin; row < strip.end; row += R) {
      Pack<T, N> dout[R], y[R];
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (row + r >= strip.end) continue;
        dout[r] = load<T, N>(a.dout, (row + r) * width + column);
        y[r] = load<T, N>(a.y, (row + r) * width + column);
      }
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (row + r >= strip.end) continue;
        float g[N], ys[N];
        dout[r].unpack(g);
        y[r].unpack(ys);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          dgate[v][i] += g[i] * ys[i];
          g[i] *= gate[i];
        }
        store<T>(a.dy, (row + r) * width + column, g);
      }
    }
  }
  store_sums<N, V>(a.dgate, blockIdx.x, width, dgate);
}

}  // namespace

void launch(const GatedAdd& a, Type type, cudaStream_t stream) {
  const int64_t strips = a.rows.frames() * ((a.rows.per_frame + kRowsPerBlock - 1) / kRowsPerBlock);
  with_type(type, [&]<class T>() {
    const bool is_aligned = aligned(a.x, a.gate.data, a.y, a.out) && a.gate.stride % (16 / sizeof(T)) == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      gated_add_rows<T, N, V, 4><<<static_cast<unsigned>(strips), threads, 0, stream>>>(a);
    });
  });
}

void launch(const GatedAddBackward& a, Type type, cudaStream_t stream) {
  const auto strips = static_cast<unsigned>(a.rows.frames() * strips_per_frame(a.rows));
  with_type(type, [&]<class T>() {
    const bool is_aligned = aligned(a.dout, a.gate.data, a.y, a.dy) && a.gate.stride % (16 / sizeof(T)) == 0;
    with_columns<T>(a.rows.width, is_aligned, [&]<int N, int V>(unsigned threads) {
      gated_add_backward_rows<T, N, V, 4><<<strips, threads, 0, stream>>>(a);
    });
  });
}

}  // namespace orrery::kernels::cuda
