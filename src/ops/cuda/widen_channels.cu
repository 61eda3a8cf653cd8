// Pixels of few channels, wherever they lie, to channels-last order with zeros up to a width that
// convolutions take. A thread makes a pixel.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256, kVector = 8;

__global__ void __launch_bounds__(kThreads) widen_channels(const WidenChannels a) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= a.batch * a.frames * a.height * a.width) return;
  const int64_t column = at % a.width, line = at / a.width, row = line % a.height, plane = line / a.height,
                frame = plane % a.frames, entry = plane / a.frames;
  const uint16_t* const x = static_cast<const uint16_t*>(a.x) + entry * a.strides[0] + frame * a.strides[2] +
                            row * a.strides[3] + column * a.strides[4];
  uint4* const y = reinterpret_cast<uint4*>(static_cast<uint16_t*>(a.y) + at * a.wide);
  for (int64_t first = 0; first < a.wide; first += kVector) {
    uint32_t word[kVector / 2];
#pragma unroll
    for (int i = 0; i < kVector; i += 2) {
      const auto channel = [&](int64_t c) { return c < a.channels ? uint32_t{x[c * a.strides[1]]} : 0; };
      word[i / 2] = channel(first + i) | channel(first + i + 1) << 16;
    }
    y[first / kVector] = make_uint4(word[0], word[1], word[2], word[3]);
  }
}

}  // namespace

void launch(const WidenChannels& a, cudaStream_t stream) {
  const int64_t pixels = a.batch * a.frames * a.height * a.width;
  widen_channels<<<static_cast<unsigned>((pixels + kThreads - 1) / kThreads), kThreads, 0, stream>>>(a);
}

}  // namespace orrery::kernels::cuda
