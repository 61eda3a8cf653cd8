#include "ops/head_split.h"

namespace orrery {

at::Tensor split_heads(const at::Tensor& x, const HeadSplit& split) {
  if (split.parts() == 1) return x.contiguous();
  const auto [receivers, groups] = split;
  return x.view({x.size(0), x.size(1), receivers, groups, x.size(2) / split.parts(), x.size(3)})
      .permute({3, 2, 0, 1, 4, 5})
      .contiguous();
}

at::Tensor joined_heads(const at::Tensor& parts, const HeadSplit& split) {
  if (split.parts() == 1) return parts.contiguous();
  return parts.permute({2, 3, 1, 0, 4, 5})
      .reshape({parts.size(2), parts.size(3), parts.size(4) * split.parts(), parts.size(5)});
}

}  // namespace orrery
