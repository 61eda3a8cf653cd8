#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "ops/cuda/conv_call.h"
#include "ops/cuda/launch.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kMaxOutputs = 384;
constexpr int64_t kManyOutputs = 192;  // with more, partly filled tiles make cuDNN faster

int64_t tiles_of(const at::Tensor& y) {
  const auto parts = [](int64_t length, int64_t tile) { return (length + tile - 1) / tile; };
  return y.size(0) * y.size(2) * parts(y.size(3), kConvRows) * parts(y.size(4), kConvColumns) *
         parts(y.size(1), kConvOutputs);
}

}  // namespace

bool is_for_wgmma(const at::Tensor& weight, const ConvGeometry& geometry) {
  const auto type = weight.scalar_type();
  const int64_t outputs = weight.size(0);
  bool has_little_padding = true;
  for (const int64_t axis : {1, 2})
    has_little_padding &= geometry.pad_before[axis] <= 1 && geometry.pad_after[axis] <= 1;
  return (type == at::kBFloat16 || type == at::kHalf) && weight.size(3) == 3 && weight.size(4) == 3 &&
         geometry.stride == std::array<int64_t, 3>{1, 1, 1} && has_little_padding &&
         (outputs <= kFewConvOutputs || (outputs % kConvOutputs == 0 && outputs <= kMaxOutputs)) &&
         is_hopper();
}

int64_t wgmma_channels() {
  return kConvChannels;
}

bool run_wgmma(const ConvCall& call) {
  const at::Tensor &x = call.x, &y = call.out;
  if (x.size(1) % kConvChannels != 0) return false;  // widened for cuDNN alone
  if (x.size(1) * x.size(3) * x.size(4) > kMaxFrameElements || tiles_of(y) > kMaxConvTiles) return false;
  if (y.size(1) > kManyOutputs && y.size(4) % kConvColumns != 0) return false;
  const auto data = [](const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  const at::Tensor packed = at::empty_like(call.weight);
  launch(TiledConv{.x = data(call.x),
                   .weight = data(call.weight),
                   .bias = data(call.bias),
                   .residual = data(call.residual),
                   .packed = packed.data_ptr(),
                   .y = call.out.data_ptr(),
                   .batch = call.x.size(0),
                   .frames = call.out.size(2),
                   .taps = call.weight.size(2),
                   .height = call.out.size(3),
                   .width = call.out.size(4),
                   .x_height = call.x.size(3),
                   .x_width = call.x.size(4),
                   .above = call.geometry.pad_before[1],
                   .left = call.geometry.pad_before[2],
                   .channels = call.x.size(1),
                   .outputs = call.out.size(1)},
         *type_of(call.out), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return true;
}

at::Tensor with_channels(const at::Tensor& x, int64_t wide) {
  Shape sizes = x.sizes().vec();
  sizes[1] = wide;
  const at::Tensor y = at::empty(sizes, x.options(), at::MemoryFormat::ChannelsLast3d);
  if (y.numel() == 0) return y;
  launch(WidenChannels{.x = x.const_data_ptr(),
                       .y = y.data_ptr(),
                       .batch = x.size(0),
                       .channels = x.size(1),
                       .frames = x.size(2),
                       .height = x.size(3),
                       .width = x.size(4),
                       .wide = wide,
                       .strides = {x.stride(0), x.stride(1), x.stride(2), x.stride(3), x.stride(4)}},
         c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

}  // namespace orrery::kernels::cuda
