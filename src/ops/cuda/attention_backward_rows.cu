// Attention's backward pass before and after its tiles (attention_backward_wgmma.cu): a number a row, and dq
// from its sums.
#include "ops/cuda/attention_backward.cuh"
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kRowThreads = 16, kRowsBlock = 256;  // of a row; of a block

// 16 rows a block.
template <class T>
__global__ void __launch_bounds__(kRowsBlock)
    prepare(const __grid_constant__ TiledAttentionBackward a, int64_t rows) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const int64_t row =
      (int64_t{blockIdx.x} * kRowsBlock + threadIdx.x) / kRowThreads;  // rows: a multiple of 64
  const int lane = threadIdx.x % kRowThreads;
  const int64_t head = blockIdx.y, entry = blockIdx.z, at = (entry * a.heads + head) * rows + row;
  float sum = 0;
  if (row < a.queries) {
    float x[8], y[8];
    load<T, 8>(a.out.data, entry * a.out.entry + row * a.out.token + head * a.out.head + lane * 8).unpack(x);
    load<T, 8>(a.dout.data, entry * a.dout.entry + row * a.dout.token + head * a.dout.head + lane * 8)
        .unpack(y);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(x[i], y[i], sum);
  }
  for (int lanes = kRowThreads / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
  float4* const sums = reinterpret_cast<float4*>(a.sums + at * kHead) + lane;
  sums[0] = sums[kRowThreads] = make_float4(0, 0, 0, 0);
  if (lane > 0) return;
  a.rows[at] = row < a.queries
                   ? a.lse[(entry * a.heads + head) * a.queries + row] * static_cast<float>(kLog2e)
                   : INFINITY;
  a.rows[a.batch * a.heads * rows + at] = sum;
  if (a.turns && row % kQueries < kMultiplying) a.turns[at / kQueries * kMultiplying + row % kQueries] = 0;
#endif
}

// A group's tile a block.
template <class T>
__global__ void __launch_bounds__(kGroup)
    finish(const __grid_constant__ TiledAttentionBackward a, int tiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const int tile = blockIdx.x / kMultiplying, group = blockIdx.x % kMultiplying;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t head = blockIdx.y, entry = blockIdx.z,
                place = ((entry * a.heads + head) * tiles) * kMultiplying + blockIdx.x;
  const float4* const sums = reinterpret_cast<const float4*>(a.sums + place * kSumFloats) + threadIdx.x;
  const float scale = static_cast<float>(a.scale);
  float4 d[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) d[i] = sums[i * kGroup];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t query = int64_t{tile} * kQueries + warp * 16 + half * 8 + lane / 4;
    T* const row =
        static_cast<T*>(a.dq) + ((entry * a.queries + query) * a.heads + head) * kHead + group * kBoxChannels;
#pragma unroll
    for (int i = 0; i < kBoxChannels / 32; ++i) {
      uint32_t word[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float4 x = d[4 * i + j];
        word[j] =
            half == 0 ? Pair<T>::word(x.x * scale, x.y * scale) : Pair<T>::word(x.z * scale, x.w * scale);
      }
      transpose_words(word);
      if (query < a.queries) store_words(row + 32 * i + lane % 4 * 8, word);
    }
  }
#endif
}

}  // namespace

void prepare_rows(const TiledAttentionBackward& a, Type type, cudaStream_t stream) {
  const int64_t rows = tiles_of(a) * kQueries;
  const auto kernel = type == Type::float16 ? prepare<__half> : prepare<__nv_bfloat16>;
  kernel<<<grid_of(a, rows * kRowThreads / kRowsBlock), kRowsBlock, 0, stream>>>(a, rows);
}

void round_sums(const TiledAttentionBackward& a, Type type, cudaStream_t stream) {
  const int64_t tiles = tiles_of(a);
  const auto kernel = type == Type::float16 ? finish<__half> : finish<__nv_bfloat16>;
  kernel<<<grid_of(a, tiles * kMultiplying), kGroup, 0, stream>>>(a, static_cast<int>(tiles));
}

}  // namespace orrery::kernels::cuda
