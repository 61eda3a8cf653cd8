#include <ATen/ops/empty.h>

#include <limits>

#include "ops/cuda/launch.h"
#include "ops/cuda/tiled_attention.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int64_t kMaxGrid = 65535;  // of its second and third dimension

AttentionInput input_of(const at::Tensor& x) {
  const auto [entry, token, head, channel] = strides_of(x);
  return {.data = x.const_data_ptr(), .entry = entry, .token = token, .head = head};
}

// The kernel works with scale * log2(e) in float32; of denormal numbers it would make zero, and 0 x infinity.
bool is_fit(double scale) {
  return scale >= std::numeric_limits<float>::min() && scale <= std::numeric_limits<float>::max() / 2;
}

}  // namespace

bool is_for_tiles(const at::Tensor& q, const at::Tensor& k) {
  const auto type = q.scalar_type();
  const auto fits = [](const at::Tensor& x) {
    return x.numel() > 0 && x.size(0) <= kMaxGrid && x.size(1) <= kMaxTiledTokens && x.size(2) <= kMaxGrid &&
           x.size(3) == kTiledHead;
  };
  return (type == at::kBFloat16 || type == at::kHalf) && fits(q) && fits(k) && is_hopper();
}

std::optional<cpu::Attention> tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                              double scale) {
  if (!is_fit(scale)) return {};
  const c10::cuda::CUDAGuard device(q.device());
  const at::Tensor queries = aligned(q), keys = aligned(k), values = aligned(v);
  const at::Tensor out = at::empty(q.sizes(), q.options());
  const at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
  const bool runs = launch(TiledAttention{.q = input_of(queries),
                                          .k = input_of(keys),
                                          .v = input_of(values),
                                          .out = out.data_ptr(),
                                          .lse = lse.data_ptr<float>(),
                                          .batch = q.size(0),
                                          .heads = q.size(2),
                                          .queries = q.size(1),
                                          .keys = k.size(1),
                                          .scale = scale},
                           *type_of(q), c10::cuda::getCurrentCUDAStream());
  if (!runs) return {};
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return cpu::Attention{out, lse};
}

std::optional<cpu::AttentionGrads> tiled_attention_backward(const at::Tensor& dout, const at::Tensor& q,
                                                            const at::Tensor& k, const at::Tensor& v,
                                                            const at::Tensor& out, const at::Tensor& lse,
                                                            double scale, bool is_deterministic) {
  if (!is_fit(scale)) return {};
  const c10::cuda::CUDAGuard device(q.device());
  const at::Tensor gradients = aligned(dout), outs = aligned(out), queries = aligned(q), keys = aligned(k),
                   values = aligned(v), sums_of_rows = lse.contiguous();
  const int64_t all_heads = q.size(0) * q.size(2), tiles = (q.size(1) + kTiledQueries - 1) / kTiledQueries;
  const auto floats = q.options().dtype(at::kFloat);
  const at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
                   dv = at::empty(v.sizes(), v.options());
  const at::Tensor sums = at::empty({all_heads, tiles, kTiledQueries, kTiledHead}, floats),
                   rows = at::empty({2, all_heads, tiles, kTiledQueries}, floats);
  at::Tensor turns;
  if (is_deterministic) turns = at::empty({all_heads, tiles, 2}, q.options().dtype(at::kInt));
  const bool runs = launch(TiledAttentionBackward{.dout = input_of(gradients),
                                                  .out = input_of(outs),
                                                  .q = input_of(queries),
                                                  .k = input_of(keys),
                                                  .v = input_of(values),
                                                  .lse = sums_of_rows.const_data_ptr<float>(),
                                                  .dq = dq.data_ptr(),
                                                  .dk = dk.data_ptr(),
                                                  .dv = dv.data_ptr(),
                                                  .sums = sums.data_ptr<float>(),
                                                  .rows = rows.data_ptr<float>(),
                                                  .turns = is_deterministic ? turns.data_ptr<int>() : nullptr,
                                                  .batch = q.size(0),
                                                  .heads = q.size(2),
                                                  .queries = q.size(1),
                                                  .keys = k.size(1),
                                                  .scale = scale},
                           *type_of(q), c10::cuda::getCurrentCUDAStream());
  if (!runs) return {};
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return cpu::AttentionGrads{dq, dk, dv};
}

}  // namespace orrery::kernels::cuda
