// Takes the tensors of channel_norm and upsample_nearest apart for their kernels, and sends what those do not
// take to ATen.
#include <ATen/ops/empty.h>

#include "ops/cuda/launch.h"
#include "ops/kernels.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kWide = 16;  // bytes

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast3d);
}

// The buffer, its halo filled, and what lies in between.
struct Target {
  at::Tensor buffer, middle;
};
Target target_for(const at::Tensor& like, const at::Tensor& history, const Shape& sizes, const Halo& halo) {
  const at::Tensor buffer = halo_buffer(like, history, sizes, halo);
  return {buffer, buffer.narrow(2, halo.frames, sizes[2]).narrow(3, halo.above, sizes[3])};
}

// x is dense; y is the middle of a dense buffer. In units of `unit` elements. None where the kernels do not
// take such sizes.
std::optional<Frames> frames_of(const at::Tensor& x, const at::Tensor& y, int64_t unit) {
  const int64_t B = x.size(0), C = x.size(1), T = x.size(2), H = x.size(3), W = x.size(4);
  if (B * T > kMaxFrames || y.size(3) * y.size(4) * C > kMaxFrameElements || x.numel() == 0) return {};
  return Frames{.batch = B,
                .frames = T,
                .height = H,
                .width = W,
                .channels = C / unit,
                .x = {.batch = T * H * W * C / unit, .frame = H * W * C / unit},
                .y = {.batch = y.stride(0) / unit, .frame = y.stride(2) / unit}};
}

// Strides of dimensions of size 1 may be anything; the buffer's are those of its own sizes.
at::Tensor as_laid_out(const at::Tensor& middle, const at::Tensor& buffer) {
  const int64_t C = buffer.size(1), frame = buffer.size(3) * buffer.size(4) * C;
  return middle.as_strided(middle.sizes(), {buffer.size(2) * frame, 1, frame, buffer.size(4) * C, C},
                           middle.storage_offset());
}

}  // namespace

at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& gamma, bool has_silu,
                        const at::Tensor& history, const Halo& halo) {
  const c10::cuda::CUDAGuard device(x.device());
  const auto type = type_of(x);
  auto [buffer, middle] = target_for(x, history, x.sizes().vec(), halo);
  middle = as_laid_out(middle, buffer);
  const auto shape = frames_of(x, middle, 1);
  if (!type || !shape || x.size(1) > kMaxNormChannels) {
    middle.copy_(cpu::channel_norm(x, gamma, has_silu));
    return buffer;
  }
  const at::Tensor dense = channels_last(x), gains = gamma.contiguous();
  launch({.x = dense.const_data_ptr(),
          .gamma = gains.const_data_ptr(),
          .y = middle.data_ptr(),
          .shape = *shape,
          .has_silu = has_silu},
         *type, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return buffer;
}

at::Tensor upsample_nearest(const at::Tensor& x, int64_t factor, const at::Tensor& history,
                            const Halo& halo) {
  const c10::cuda::CUDAGuard device(x.device());
  Shape sizes = x.sizes().vec();
  sizes[3] *= factor;
  sizes[4] *= factor;
  auto [buffer, middle] = target_for(x, history, sizes, halo);
  middle = as_laid_out(middle, buffer);
  const int64_t unit = kWide / static_cast<int64_t>(x.itemsize());
  const at::Tensor dense = channels_last(x);
  const auto shape = frames_of(dense, middle, unit);
  const bool is_aligned = reinterpret_cast<uintptr_t>(dense.const_data_ptr()) % kWide == 0;
  if (!shape || !is_aligned || x.size(1) % unit != 0) {
    const at::Tensor squares =
        dense.unsqueeze(4).unsqueeze(6).expand({-1, -1, -1, -1, factor, -1, factor}).reshape(sizes);
    middle.copy_(squares);
    return buffer;
  }
  launch(Upsample{.x = dense.const_data_ptr(), .y = middle.data_ptr(), .shape = *shape, .factor = factor},
         c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return buffer;
}

at::Tensor channels_to_frames(const at::Tensor& x, int64_t factor) {
  const c10::cuda::CUDAGuard device(x.device());
  const int64_t B = x.size(0), C = x.size(1) / factor, T = x.size(2), H = x.size(3), W = x.size(4);
  const at::Tensor y = at::empty({B, C, factor * T, H, W}, x.options(), at::MemoryFormat::ChannelsLast3d);
  y.unflatten(2, {T, factor}).permute({0, 3, 1, 2, 4, 5}).copy_(x.unflatten(1, {factor, C}));
  return y;
}

}  // namespace orrery::kernels::cuda
