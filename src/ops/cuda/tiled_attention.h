#pragma once
// Attention forward by our own kernel for Hopper (attention_wgmma.cu), for attention() in
// cudnn_attention.cpp, and for tests and measurements of the kernel alone.
#include <optional>

#include "ops/kernels.h"

namespace orrery::kernels::cuda {

// bfloat16 or float16, 128 channels a head, not empty, within the limits of entry.h; the current device is a
// Hopper and the kernel was built.
bool is_for_tiles(const at::Tensor& q, const at::Tensor& k);

// kernels::cpu::attention of what is_for_tiles takes, with any number of keys: sums in float32 tile by tile,
// probabilities rounded to the type for their product with v. The same bits in each run. None where scale is
// not one of float's normal positive numbers (to half the largest), or the driver refuses.
std::optional<cpu::Attention> tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                              double scale);

}  // namespace orrery::kernels::cuda
