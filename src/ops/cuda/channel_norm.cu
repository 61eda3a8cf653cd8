// channel_norm over pixels in channels-last order: L lanes a pixel, kPixels of them a lane at a time, so that
// enough loads are under way. One read and one write; y may lie in the middle of a larger buffer.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPixels = 2;
constexpr int kRounds = 8;  // of a block, so that gamma is read seldom
constexpr float kMinNorm = 1e-12f;

template <int L>
__device__ float lane_sum(float value) {
#pragma unroll
  for (int offset = L / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// x / norm to be rounded to T. For bfloat16 the product with the reciprocal rounds to the same number: a
// quotient of 8-bit numbers is never halfway between two of them, and differs from halfway by 2^-17 of itself
// or more, the product from the quotient by 2^-23 at most.
template <class T>
__device__ float quotient(float x, float norm, float reciprocal) {
  return __fdiv_rn(x, norm);
}
template <>
__device__ float quotient<__nv_bfloat16>(float x, float norm, float reciprocal) {
  return x * reciprocal;
}

template <class T>
__device__ float silu(float y) {
  return y / (1.f + expf(-y));
}
template <>
__device__ float silu<__nv_bfloat16>(float y) {
  return __fdividef(y, 1.f + __expf(-y));
}

template <class T>
__device__ float rounded(float value) {
  return static_cast<float>(static_cast<T>(value));
}

// From the values of a pixel and its norm, which is rounded.
template <class T, int N>
__device__ void scale(float (&value)[N], float norm, float root, const float (&gamma)[N], bool has_silu) {
  const float reciprocal = 1.f / norm;
#pragma unroll
  for (int i = 0; i < N; ++i) value[i] = quotient<T>(value[i], norm, reciprocal);
  round_to<T>(value);
#pragma unroll
  for (int i = 0; i < N; ++i) value[i] *= root;
  round_to<T>(value);
#pragma unroll
  for (int i = 0; i < N; ++i) value[i] *= gamma[i];
  if (!has_silu) return;
  round_to<T>(value);
#pragma unroll
  for (int i = 0; i < N; ++i) value[i] = silu<T>(value[i]);
}

// A block's frame, as pointers.
template <class T>
struct Frame {
  const T* x;
  T* y;
};
template <class T>
__device__ Frame<T> frame_of(const ChannelNorm& a) {
  const int64_t entry = blockIdx.y / a.shape.frames, frame = blockIdx.y % a.shape.frames;
  return {static_cast<const T*>(a.x) + entry * a.shape.x.batch + frame * a.shape.x.frame,
          static_cast<T*>(a.y) + entry * a.shape.y.batch + frame * a.shape.y.frame};
}

// Channels are V packs of N for each of L lanes, no more and no less.
template <class T, int N, int V, int L>
__global__ void __launch_bounds__(kThreads, 3) channel_norm_pixels(const ChannelNorm a) {
  constexpr int kGroups = kThreads / L, kChannels = N * V * L;
  const int group = threadIdx.x / L, lane = threadIdx.x % L;
  const auto [x, y] = frame_of<T>(a);
  float gamma[V][N];
#pragma unroll
  for (int v = 0; v < V; ++v) load<T, N>(a.gamma, (lane + v * L) * N).unpack(gamma[v]);
  const float root = sqrtf(static_cast<float>(kChannels));
  const int64_t count = a.shape.height * a.shape.width;
  const int64_t first = int64_t{blockIdx.x} * (kGroups * kPixels * kRounds) + group;
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
    Pack<T, N> packs[kPixels][V];
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const int64_t pixel = first + (round * kPixels + k) * kGroups;
      if (pixel >= count) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) packs[k][v] = load<T, N>(x, pixel * kChannels + (lane + v * L) * N);
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const int64_t pixel = first + (round * kPixels + k) * kGroups;
      float square = 0, value[N];
      if (pixel < count) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
          packs[k][v].unpack(value);
#pragma unroll
          for (int i = 0; i < N; ++i) square += value[i] * value[i];
        }
      }
      const float norm = fmaxf(rounded<T>(sqrtf(lane_sum<L>(square))), kMinNorm);
      if (pixel >= count) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        packs[k][v].unpack(value);
        scale<T>(value, norm, root, gamma[v], a.has_silu);
        store<T>(y, pixel * kChannels + (lane + v * L) * N, value);
      }
    }
  }
}

// Any number of channels: a warp a pixel.
template <class T>
__global__ void __launch_bounds__(kThreads) channel_norm_any(const ChannelNorm a) {
  const auto [x, y] = frame_of<T>(a);
  const int64_t pixel = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  const int64_t channels = a.shape.channels;
  if (pixel >= a.shape.height * a.shape.width) return;
  float square = 0;
  for (int64_t c = threadIdx.x % 32; c < channels; c += 32) {
    const float value = static_cast<float>(x[pixel * channels + c]);
    square += value * value;
  }
  const float norm = fmaxf(rounded<T>(sqrtf(lane_sum<32>(square))), kMinNorm);
  const float root = sqrtf(static_cast<float>(channels));
  for (int64_t c = threadIdx.x % 32; c < channels; c += 32) {
    float value[1] = {static_cast<float>(x[pixel * channels + c])};
    const float gamma[1] = {static_cast<float>(static_cast<const T*>(a.gamma)[c])};
    scale<T>(value, norm, root, gamma, a.has_silu);
    y[pixel * channels + c] = static_cast<T>(value[0]);
  }
}

unsigned blocks_for(int64_t pixels, int64_t pixels_of_block) {
  return static_cast<unsigned>((pixels + pixels_of_block - 1) / pixels_of_block);
}

template <class T, int L>
bool launch_exact(const ChannelNorm& a, cudaStream_t stream) {
  constexpr int N = 16 / sizeof(T), V = 3;  // 96, 192 and 384 channels are three packs for each lane
  if (a.shape.channels != N * V * L || !aligned(a.x, a.y, a.gamma)) return false;
  if (a.shape.y.frame % N != 0 || a.shape.y.batch % N != 0) return false;
  const dim3 grid(blocks_for(a.shape.height * a.shape.width, kThreads / L * kPixels * kRounds),
                  static_cast<unsigned>(a.shape.batch * a.shape.frames));
  channel_norm_pixels<T, N, V, L><<<grid, kThreads, 0, stream>>>(a);
  return true;
}

}  // namespace

void launch(const ChannelNorm& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    if (launch_exact<T, 4>(a, stream) || launch_exact<T, 8>(a, stream) || launch_exact<T, 16>(a, stream) ||
        launch_exact<T, 32>(a, stream))
      return;
    const dim3 grid(blocks_for(a.shape.height * a.shape.width, kThreads / 32),
                    static_cast<unsigned>(a.shape.batch * a.shape.frames));
    channel_norm_any<T><<<grid, kThreads, 0, stream>>>(a);
  });
}

}  // namespace orrery::kernels::cuda
