#include <ATen/ops/empty.h>

#include "ops/kernels.h"

namespace orrery::kernels {

at::Tensor halo_buffer(const at::Tensor& like, const at::Tensor& history, at::IntArrayRef middle,
                       const Halo& halo) {
  const int64_t B = middle[0], C = middle[1], T = middle[2], H = middle[3], W = middle[4];
  const auto format = like.is_cuda() ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
  at::Tensor buffer =
      at::empty({B, C, halo.frames + T, halo.above + H + halo.below, W}, like.options(), format);
  const int64_t known = history.defined() ? history.size(2) : 0;
  if (halo.frames > known) buffer.narrow(2, 0, halo.frames - known).zero_();
  if (known > 0) buffer.narrow(2, halo.frames - known, known).copy_(history);
  const at::Tensor frames = buffer.narrow(2, halo.frames, T);
  if (halo.above > 0) frames.narrow(3, 0, halo.above).zero_();
  if (halo.below > 0) frames.narrow(3, halo.above + H, halo.below).zero_();
  return buffer;
}

at::Tensor cpu::upsample_nearest(const at::Tensor& x, int64_t factor) {
  return x.unsqueeze(4)
      .unsqueeze(6)
      .expand({-1, -1, -1, -1, factor, -1, factor})
      .reshape({x.size(0), x.size(1), x.size(2), x.size(3) * factor, x.size(4) * factor});
}

}  // namespace orrery::kernels
