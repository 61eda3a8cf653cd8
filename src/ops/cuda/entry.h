#pragma once
// Entry points of the .cu files, called by launch*.cpp: raw pointers, shapes and a stream, so that neither
// side needs the other's headers. Tensors are contiguous and on the stream's device, unless a stride is
// given.
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/attention_tiles.h"

namespace orrery::kernels::cuda {

enum class Type { float32, bfloat16, float16 };

// (count, width) of which `per_frame` consecutive rows share one row of modulation. What the kernels take:
// width in [1, kMaxWidth], count in [1, kMaxRows].
struct Rows {
  int64_t count, per_frame, width;
  int64_t frames() const { return count / per_frame; }
};
constexpr int64_t kMaxWidth = 8192, kMaxRows = (int64_t{1} << 31) - 1;

// A scale, shift or gate: row f of it begins at element f * stride.
struct Modulation {
  const void* data;
  int64_t stride;
};

// Sums over rows are made in two stages. The first leaves one row of sums a strip of this many rows.
constexpr int64_t kRowsPerStrip = 64;
inline int64_t strips_per_frame(const Rows& rows) {
  return (rows.per_frame + kRowsPerStrip - 1) / kRowsPerStrip;
}

// out[k] (frames, width) = sum over strips of partial[k] (frames * strips, width), in a fixed order; k < 2,
// where out[k] is not null.
struct ColumnSums {
  const float* partial[2];
  void* out[2];
  int64_t frames, strips, width;
};
void launch(const ColumnSums& args, Type type, cudaStream_t stream);

// y = layer_norm(x) * (1 + scale) + shift; mean, rstd: one a row
struct AdaLN {
  const void* x;
  Modulation scale, shift;
  void* y;
  float *mean, *rstd;
  Rows rows;
  float eps;
};
void launch(const AdaLN& args, Type type, cudaStream_t stream);

// dx, and the first stage of dscale and dshift, each (frames * strips, width).
struct AdaLNBackward {
  const void *dout, *x;
  Modulation scale;
  const float *mean, *rstd;
  void* dx;
  float *dscale, *dshift;
  Rows rows;
};
void launch(const AdaLNBackward& args, Type type, cudaStream_t stream);

// out = x + gate * y
struct GatedAdd {
  const void* x;
  Modulation gate;
  const void* y;
  void* out;
  Rows rows;
};
void launch(const GatedAdd& args, Type type, cudaStream_t stream);

// dy = dout * gate, and the first stage of dgate (frames * strips, width).
struct GatedAddBackward {
  const void *dout, *y;
  Modulation gate;
  void* dy;
  float* dgate;
  Rows rows;
};
void launch(const GatedAddBackward& args, Type type, cudaStream_t stream);

// y = x * rsqrt(mean(x^2) + eps) * weight over each row of x (count, width); rstd: one a row.
constexpr int64_t kMaxNormWidth = 256;
struct RmsNorm {
  const void *x, *weight;
  Type weight_type;
  void* y;
  float* rstd;
  int64_t count, width;
  float eps;
};
void launch(const RmsNorm& args, Type type, cudaStream_t stream);

// dx, and the first stage of dweight: a row of sums a block of rows (norm_blocks(count), width).
struct RmsNormBackward {
  const void *dout, *x, *weight;
  Type weight_type;
  const float* rstd;
  void* dx;
  float* dweight;
  int64_t count, width;
};
int64_t norm_blocks(int64_t count);
void launch(const RmsNormBackward& args, Type type, cudaStream_t stream);

// Rotates x (tokens, heads, 2 * half) by the angles of token % positions, or back; cos, sin (positions,
// half).
struct Rope {
  const void* x;
  const float *cos, *sin;
  void* y;
  int64_t tokens, positions, heads, half;
  bool inverse;
};
constexpr int64_t kMaxRopeThreads = (int64_t{1} << 31) - 1;  // tokens * heads * half may not exceed it
void launch(const Rope& args, Type type, cudaStream_t stream);

// Heads (tokens, heads, 2 * half) split as ops/head_split.h says: part p holds heads p * heads / parts and
// on, dense, and lies in slot p % groups * receivers + p / groups.
struct HeadSlots {
  int64_t receivers, groups;
};

// y = rope of rms_norm of x (tokens, heads, 2 * half), the first rounded before the second; y is split. Heads
// that take 128, 256 or 512 bytes, up to kMaxHeads of a token, tokens * heads up to kMaxRows; addresses at 16
// bytes.
constexpr int64_t kMaxHeads = 255;
struct RmsNormRope {
  const void *x, *weight;
  Type weight_type;
  const float *cos, *sin;  // (positions, half)
  void* y;
  float* rstd;
  int64_t tokens, positions, heads, half;
  HeadSlots slots;
  float eps;
};
void launch(const RmsNormRope& args, Type type, cudaStream_t stream);

// From split dout: dx, and the first stage of dweight (norm_blocks(tokens * heads), 2 * half).
struct RmsNormRopeBackward {
  const void *dout, *x, *weight;
  Type weight_type;
  const float *cos, *sin, *rstd;
  void* dx;
  float* dweight;
  int64_t tokens, positions, heads, half;
  HeadSlots slots;
};
void launch(const RmsNormRopeBackward& args, Type type, cudaStream_t stream);

// Frames of pixels of `channels` numbers; all frames lie the same way. A frame's pixels are dense in x, and
// so they are in y. A batch entry has `frames` of them.
struct FrameStrides {
  int64_t batch, frame;  // elements
};
struct Frames {
  int64_t batch, frames, height, width, channels;
  FrameStrides x, y;
};
constexpr int64_t kMaxFrames = 65535;                          // batch * frames
constexpr int64_t kMaxFrameElements = (int64_t{1} << 31) - 1;  // of a frame of y

// y = x / max(|x|, 1e-12) * sqrt(channels) * gamma over each pixel's channels, silu of it with has_silu;
// rounded after the norm, the quotient, each product and silu. gamma has x's type.
constexpr int64_t kMaxNormChannels = 1024;
struct ChannelNorm {
  const void *x, *gamma;
  void* y;
  Frames shape;
  bool has_silu;
};
void launch(const ChannelNorm& args, Type type, cudaStream_t stream);

// Every pixel of x, which is bytes in multiples of 16, as factor x factor pixels of y. The channels of Frames
// are units of 16 bytes here, and so are the strides.
struct Upsample {
  const void* x;
  void* y;
  Frames shape;  // of x
  int64_t factor;
};
void launch(const Upsample& args, cudaStream_t stream);

// y += bias + residual in place, rounded once: y and residual (pixels, channels), bias (channels), either may
// be null.
struct BiasAdd {
  void* y;
  const void *bias, *residual;
  int64_t pixels, channels;
};
void launch(const BiasAdd& args, Type type, cudaStream_t stream);

// Pixels of x, at any strides, to channels-last pixels of `wide` channels, a multiple of 8: zeros after x's.
// Elements of two bytes.
struct WidenChannels {
  const void* x;
  void* y;
  int64_t batch, channels, frames, height, width, wide;
  int64_t strides[5];  // of x's batch, channels, frames, height, width
};
void launch(const WidenChannels& args, cudaStream_t stream);

// y = conv3d(x, weight) + bias + residual with kernels of taps x 3 x 3 at stride 1, summed in float32 and
// rounded once: a half type. x (batch, frames + taps - 1, x_height, x_width, channels) with zeros around its
// pixels, of which `above` rows and `left` columns count; weight (outputs, taps, 3, 3, channels); y and
// residual (batch, frames, height, width, outputs); bias and residual may be null. packed: space of weight's
// size. Channels are multiples of kConvChannels; outputs are multiples of kConvOutputs, or kFewConvOutputs.
// A frame of x has up to kMaxFrameElements; tiles of kConvRows x kConvColumns pixels and their outputs are up
// to kMaxConvTiles. Devices of compute capability 9.0, where built for sm_90a.
constexpr int kConvChannels = 16, kConvOutputs = 96, kFewConvOutputs = 8, kConvRows = 6, kConvColumns = 64;
constexpr int64_t kMaxConvTiles = (int64_t{1} << 31) - 1;
struct TiledConv {
  const void *x, *weight, *bias, *residual;
  void *packed, *y;
  int64_t batch, frames, taps, height, width, x_height, x_width, above, left, channels, outputs;
};
void launch(const TiledConv& args, Type type, cudaStream_t stream);

// Attention without mask for heads of kTiledHead channels: out (batch, queries, heads, kTiledHead), a half
// type, and lse (batch, heads, queries), log-sum-exp of the scaled scores; scale > 0. Channels of q, k and v
// are dense, the other strides and the pointers positive multiples of 16 bytes. Up to 65,535 heads and
// entries of the batch, tokens up to kMaxTiledTokens. False where the driver refuses. Devices of compute
// capability 9.0, where built for sm_90a.
constexpr int64_t kMaxTiledTokens = int64_t{1} << 30;
struct AttentionInput {
  const void* data;
  int64_t entry, token, head;  // strides in elements
};
struct TiledAttention {
  AttentionInput q, k, v;
  void* out;
  float* lse;
  int64_t batch, heads, queries, keys;
  double scale;
};
bool launch(const TiledAttention& args, Type type, cudaStream_t stream);

// The gradients of its inputs, dense, of TiledAttention's out and lse: dq (batch, queries, heads,
// kTiledHead), dk and dv (batch, keys, heads, kTiledHead). Space: sums, kTiledHead floats, and rows, 2
// floats, for each of the queries of a head in whole kTiledQueries; turns, 2 integers for kTiledQueries of a
// head. Without turns dq is summed in whatever order its terms come.
struct TiledAttentionBackward {
  AttentionInput dout, out, q, k, v;
  const float* lse;
  void *dq, *dk, *dv;
  float *sums, *rows;
  int* turns;
  int64_t batch, heads, queries, keys;
  double scale;
};
bool launch(const TiledAttentionBackward& args, Type type, cudaStream_t stream);

// y = x Phi(x), Phi the distribution function of the standard normal, over `count` elements, count > 0.
struct Gelu {
  const void* x;
  void* y;
  int64_t count;
};
void launch(const Gelu& args, Type type, cudaStream_t stream);

// dx = dout (Phi(x) + x phi(x))
struct GeluBackward {
  const void *dout, *x;
  void* dx;
  int64_t count;
};
void launch(const GeluBackward& args, Type type, cudaStream_t stream);

// p = softmax(scale * scores) over each row of scores (rows, width), rounded to `type`; lse: log-sum-exp of
// the scaled scores, one a row.
struct SoftmaxRows {
  const float* scores;
  void* p;
  float* lse;
  int64_t rows, width;
  float scale;
};
void launch(const SoftmaxRows& args, Type type, cudaStream_t stream);

}  // namespace orrery::kernels::cuda
