#pragma once
// Attention by our own kernels for Hopper (attention_wgmma.cu, attention_backward_wgmma.cu), for attention()
// and attention_backward() in cudnn_attention.cpp, and for tests and measurements of the kernels alone.
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

// kernels::cpu::attention_backward of what is_for_tiles takes, likewise, dout of out's shape and type; p and
// ds rounded to the type for their products. dq is summed over blocks of 128 keys in float32, in any order
// or, where deterministic, in theirs: then the same bits in each run. Works with 4 bytes beside each element
// of q.
std::optional<cpu::AttentionGrads> tiled_attention_backward(const at::Tensor& dout, const at::Tensor& q,
                                                            const at::Tensor& k, const at::Tensor& v,
                                                            const at::Tensor& out, const at::Tensor& lse,
                                                            double scale, bool is_deterministic);

}  // namespace orrery::kernels::cuda
