// Sizes of results and temporaries as in ATen 2.11: native/cpu/layer_norm_kernel.cpp,
// FlashAttentionKernel.cpp, native/Convolution.cpp, ConvolutionMM3d.cpp.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "ops/kernels.h"
#include "ops/numeric.h"

namespace orrery::kernels::meta {
namespace {

// Queries and keys of one tile.
struct Tile {
  int64_t queries, keys;
};
Tile tile_of(const at::Tensor& q, const at::Tensor& k) {
  const int64_t length = q.size(1), rows = length >= 768 ? 256 : length >= 192 ? 64 : 32;
  return {std::min(length, rows), std::min<int64_t>(k.size(1), 512)};
}

struct Buffers {
  at::Tensor exact, rounded;
};
// Of all threads: `exact` elements each in the accumulation type, and for half types `rounded` in q's.
Buffers buffers(const at::Tensor& q, int64_t exact, int64_t rounded) {
  const int64_t threads = at::get_num_threads();
  const bool is_half = acc_type(q.scalar_type()) != q.scalar_type();
  return {at::empty({threads, exact}, q.options().dtype(acc_type(q.scalar_type()))),
          at::empty({threads, is_half ? rounded : 0}, q.options())};
}

}  // namespace

LayerNorm layer_norm(const at::Tensor& x) {
  auto rows = x.sizes().vec();
  rows.back() = 1;
  return {at::empty(x.sizes(), x.options()), at::empty(rows, x.options()), at::empty(rows, x.options())};
}

at::Tensor layer_norm_backward(const at::Tensor& x) {
  return at::empty(x.sizes(), x.options());
}

cpu::Attention attention(const at::Tensor& q, const at::Tensor& k) {
  const at::Tensor out = at::empty(q.sizes(), q.options());
  const at::Tensor lse =
      at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(acc_type(q.scalar_type())));
  const auto [queries, keys] = tile_of(q, k);
  buffers(q, queries * (keys + 2 + q.size(3)), queries * keys);
  return {out, lse.transpose(1, 2)};
}

cpu::AttentionGrads attention_backward(const at::Tensor& q, const at::Tensor& k) {
  const at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
                   dv = at::empty(k.sizes(), k.options());
  const auto [queries, keys] = tile_of(q, k);
  const Buffers tiles = buffers(q, 2 * queries * keys, 2 * queries * keys);
  at::empty({queries}, tiles.exact.options());
  return {dq, dk, dv};
}

// ATen unfolds its input into a matrix where it does not leave the work to oneDNN, whose memory is not
// ATen's.
at::Tensor conv3d(const at::Tensor& x, const at::Tensor& weight, std::array<int64_t, 2> stride) {
  const int64_t frames = x.size(2) - weight.size(2) + 1, rows = (x.size(3) - weight.size(3)) / stride[0] + 1,
                columns = (x.size(4) - weight.size(4)) / stride[1] + 1;
  at::Tensor out = at::empty({x.size(0), weight.size(0), frames, rows, columns}, x.options());
  const int64_t patch = weight[0].numel();
  const bool is_large = x.size(0) > 1 || x.numel() / x.size(4) > 20480;
  if ((x.scalar_type() != at::kFloat || !is_large) && patch > weight.size(1))
    at::empty({x.size(0), patch, frames * rows * columns}, x.options());
  return out;
}

}  // namespace orrery::kernels::meta
