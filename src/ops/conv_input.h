#pragma once
// What the convolutions of the video autoencoder read: a part of a film with a halo, the frames before it and
// the rows of its pictures that other ranks have. Whatever comes before a convolution writes straight into
// the middle of such a buffer, so that the convolution runs on it without a copy. Used by
// model/wan_vae_layers.h.
#include <string_view>

#include "autograd/variable.h"

namespace orrery {

// Beyond what lies between them: frames before, rows above and below.
struct Halo {
  int64_t frames = 0, above = 0, below = 0;
};

// Pictures whose rows are spread over ranks, from top to bottom. Every rank makes the same calls on tensors
// that differ in rows alone. parallel/row_exchange.h has one for any Comm.
class RowExchange {
 public:
  virtual ~RowExchange() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  // frames (B,C,T,above+H+below,W): fills the first `above` rows with the last of the H rows of the rank
  // above, the last `below` rows with the first ones of the rank below. Rows beyond the picture are left as
  // they are. Error: fewer rows H than `above` or `below`.
  virtual void fill(const at::Tensor& frames, int64_t above, int64_t below) const = 0;
  // The rows (B,C,T,h,W) of all ranks joined, on each of them. heights: h of every rank.
  virtual at::Tensor gather(const at::Tensor& rows, const std::vector<int64_t>& heights) const = 0;
  // Error, on every rank, unless all ranks gave the same numbers. device: of the exchange.
  virtual void require_same(const Shape& numbers, at::Device device, std::string_view what) const = 0;
};

namespace ops {

// Where the input of a convolution comes from besides x. history (B,C,n,above+H+below,W), n at most
// halo.frames, or undefined: the last frames of the input before; frames that are missing are zeros. rows:
// null where x has whole pictures; rows of the halo are then zeros, as they are beyond a shared picture.
struct Around {
  Variable history;
  Halo halo;
  const RowExchange* rows = nullptr;
};

// (B,C,frames+T,above+H+below,W) for x (B,C,T,H,W): x and its halo. Error: a history that does not fit. With
// `rows` there are no derivatives.
Variable with_halo(const Variable& x, const Around& around);

// with_halo of channel_norm_silu (ops/channel_norm.h), and of upsample_nearest (ops/upsample.h), with the
// same bits. On a GPU one kernel writes the buffer where nothing is recorded.
Variable channel_norm_silu_with_halo(const Variable& x, const Variable& gamma, const Around& around);
Variable upsample_nearest_with_halo(const Variable& x, int64_t factor, const Around& around);

}  // namespace ops
}  // namespace orrery
