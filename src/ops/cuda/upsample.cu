// Nearest-neighbour upsampling in channels-last order: a thread reads 16 bytes of a pixel and writes them to
// the square of pixels that it becomes.
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) upsample_pixels(const Upsample a) {
  const auto& [batch, frames, height, width, units, from, to] = a.shape;
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= height * width * units) return;
  const int64_t unit = at % units, pixel = at / units, row = pixel / width, column = pixel % width;
  const int64_t entry = blockIdx.y / frames, frame = blockIdx.y % frames;
  const uint4 value = static_cast<const uint4*>(a.x)[entry * from.batch + frame * from.frame + at];
  uint4* const y = static_cast<uint4*>(a.y) + entry * to.batch + frame * to.frame + unit;
  for (int64_t i = 0; i < a.factor; ++i)
    for (int64_t j = 0; j < a.factor; ++j)
      y[((row * a.factor + i) * width * a.factor + column * a.factor + j) * units] = value;
}

}  // namespace

void launch(const Upsample& a, cudaStream_t stream) {
  const int64_t count = a.shape.height * a.shape.width * a.shape.channels;
  const dim3 grid(static_cast<unsigned>((count + kThreads - 1) / kThreads),
                  static_cast<unsigned>(a.shape.batch * a.shape.frames));
  upsample_pixels<<<grid, kThreads, 0, stream>>>(a);
}

}  // namespace orrery::kernels::cuda
