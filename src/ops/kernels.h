#pragma once
// Kernels behind the ops. kernels::cpu is the reference in plain ATen: obviously right, and it runs on any
// device. kernels::cuda has the fused twins of those that have one; CPU builds link stubs that throw.
#include <ATen/core/Tensor.h>

#include <string>
#include <tuple>

#include "ops/conv3d.h"
#include "ops/conv_input.h"
#include "ops/head_split.h"

namespace orrery::kernels {

// What happens to normalised heads: rotation by angles with these cosines and sines (S,d/2), in the
// accumulation type, and the split.
struct HeadTurn {
  at::Tensor cos, sin;
  HeadSplit split;
};

// The buffer of ops/conv_input.h for what is `middle` (B,C,T,H,W), of like's type and device: the halo is
// filled with history and zeros, the middle is not. On a GPU its memory is in the order B, T, H, W, C.
at::Tensor halo_buffer(const at::Tensor& like, const at::Tensor& history, at::IntArrayRef middle,
                       const Halo& halo);

}  // namespace orrery::kernels

namespace orrery::kernels::cpu {

// y = layer_norm(x) * (1 + scale) + shift over the last dim; scale and shift broadcast against x. The norm is
// computed in the accumulation type and rounded once to x's type; (1 + scale), the product and the sum round
// once each.
struct AdaLN {
  at::Tensor y, mean, rstd;  // mean, rstd: x's shape with last dim 1, accumulation type
};
AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps);

// Which gradients are wanted; the others are left undefined. Sums over broadcast dimensions are made in the
// accumulation type and rounded once.
struct AdaLNSaved {
  at::Tensor x, scale, mean, rstd;
  at::IntArrayRef shift_shape;  // shift has scale's dtype
  bool wants_dx, wants_dscale, wants_dshift;
};
struct AdaLNGrads {
  at::Tensor dx, dscale, dshift;
};
AdaLNGrads adaln_backward(const at::Tensor& dout, const AdaLNSaved& saved);

// x + gate * y; product and sum round once each.
at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y);

struct GatedAddSaved {
  at::Tensor gate, y;  // undefined where the other's gradient is not wanted
  at::IntArrayRef gate_shape;
  bool wants_dgate, wants_dy;
};
struct GatedAddGrads {
  at::Tensor dgate, dy;
};
GatedAddGrads gated_add_backward(const at::Tensor& dout, const GatedAddSaved& saved);

// y = x * rsqrt(mean(x^2) + eps) * weight over the last dim, in the accumulation type, rounded once.
struct RmsNorm {
  at::Tensor y, rstd;
};
RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct RmsNormSaved {
  at::Tensor x, weight, rstd;
  bool wants_dx, wants_dweight;
};
struct RmsNormGrads {
  at::Tensor dx, dweight;
};
RmsNormGrads rms_norm_backward(const at::Tensor& dout, const RmsNormSaved& saved);

// Half-split rotation of x (B,S,n,d) by angles whose cosine and sine are (S,d/2) in the accumulation type;
// one rounding.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
// The rotation by the opposite angles.
at::Tensor rope_inverse(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// rope of rms_norm of x (B,S,n,d), rounded after each, split as turn says; dout is split likewise.
RmsNorm rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const HeadTurn& turn);
RmsNormGrads rms_norm_rope_backward(const at::Tensor& dout, const RmsNormSaved& saved, const HeadTurn& turn);

// softmax(q k^T * scale) v for q, k, v (B,S,n,d) -> out (B,Sq,n,d) and log-sum-exp (B,n,Sq) of the scaled
// scores.
struct Attention {
  at::Tensor out, lse;
};
Attention attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);
struct AttentionGrads {
  at::Tensor dq, dk, dv;
};
AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                  double scale);
// Tangent of out for tangents of q, k and v.
at::Tensor attention_jvp(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                         const at::Tensor& lse, const at::Tensor& tq, const at::Tensor& tk,
                         const at::Tensor& tv, double scale);

// Convolution in time and space of history and x joined (ops/conv3d.h); history and bias may be undefined.
at::Tensor conv3d(const at::Tensor& x, const at::Tensor& history, const at::Tensor& weight,
                  const at::Tensor& bias, const ConvGeometry& geometry);

struct Conv3dSaved {
  at::Tensor x, history, weight;
  bool wants_dx, wants_dweight, wants_dbias;  // dx: and dhistory
};
struct Conv3dGrads {
  at::Tensor dx, dhistory, dweight, dbias;
};
Conv3dGrads conv3d_backward(const at::Tensor& dout, const Conv3dSaved& saved, const ConvGeometry& geometry);

// Each pixel of x (B,C,T,H,W) as a square of factor x factor.
at::Tensor upsample_nearest(const at::Tensor& x, int64_t factor);

// y = x / max(|x|, 1e-12) * sqrt(C) * gamma over the channels of x (B,C,T,H,W), and silu(y) if asked for;
// rounded after norm, quotient, each product and silu.
at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& gamma, bool has_silu);

struct ChannelNormSaved {
  at::Tensor x, gamma;
  bool has_silu, wants_dx, wants_dgamma;
};
struct ChannelNormGrads {
  at::Tensor dx, dgamma;
};
ChannelNormGrads channel_norm_backward(const at::Tensor& dout, const ChannelNormSaved& saved);

// For its derivatives, in the accumulation type: y = unit * gain.
struct ChannelUnits {
  at::Tensor unit, norm, gain;  // x / norm; max(|x|, 1e-12); sqrt(C) gamma
};
ChannelUnits channel_units(const at::Tensor& x, const at::Tensor& gamma);
// The Jacobian of x -> unit, which is symmetric, times v.
at::Tensor project_channels(const at::Tensor& v, const at::Tensor& unit, const at::Tensor& norm);

}  // namespace orrery::kernels::cpu

// The CPU kernels that ATen has not for meta tensors: results and temporaries of their sizes. kernels::cpu
// comes here for meta tensors, so that a plan of a CPU run allocates what the run does.
namespace orrery::kernels::meta {

struct LayerNorm {
  at::Tensor y, mean, rstd;
};
LayerNorm layer_norm(const at::Tensor& x);            // as at::native_layer_norm over the last dim
at::Tensor layer_norm_backward(const at::Tensor& x);  // dx of at::native_layer_norm_backward
cpu::Attention attention(const at::Tensor& q, const at::Tensor& k);
cpu::AttentionGrads attention_backward(const at::Tensor& q, const at::Tensor& k);

// As at::conv3d without padding; stride: of rows and columns.
at::Tensor conv3d(const at::Tensor& x, const at::Tensor& weight, std::array<int64_t, 2> stride);

}  // namespace orrery::kernels::meta

// The fused twins. Forward rounds where the twin does: the same bits, but for what sums over a row (mean,
// rstd and what follows from them), which differs by the order of a float32 sum. Backward sums in float32 in
// an order that depends on shapes alone. Layouts and types that a kernel does not take go to kernels::cpu,
// which runs on the tensors' device.
namespace orrery::kernels::cuda {

cpu::AdaLN adaln(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps);
cpu::AdaLNGrads adaln_backward(const at::Tensor& dout, const cpu::AdaLNSaved& saved);
at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y);
cpu::GatedAddGrads gated_add_backward(const at::Tensor& dout, const cpu::GatedAddSaved& saved);
cpu::RmsNorm rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
cpu::RmsNormGrads rms_norm_backward(const at::Tensor& dout, const cpu::RmsNormSaved& saved);
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor rope_inverse(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
// Forward with the bits of rms_norm and rope above, backward to the order of sums and one contraction.
cpu::RmsNorm rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const HeadTurn& turn);
cpu::RmsNormGrads rms_norm_rope_backward(const at::Tensor& dout, const cpu::RmsNormSaved& saved,
                                         const HeadTurn& turn);

// at::gelu and at::gelu_backward in the erf form: computed in float32 and rounded once to x's type. The
// negative tail, where the float32 of ATen cancels, is right to some units in the last place.
at::Tensor gelu(const at::Tensor& x);
at::Tensor gelu_backward(const at::Tensor& dout, const at::Tensor& x);

// Fused kernels: cuDNN's for bfloat16 and float16, head sizes in multiples of 8; our own on Hopper with heads
// of 128 from 4096 keys on (ops/attention_tiles.h). They add up in float32 block by block, so results differ
// from the twin's by roundings, and lse is float32. In backward dq differs from run to run, except with
// at::Context's deterministic algorithms (numerics.deterministic). Heads wider than 256 go forward by
// products of matrices, some queries at a time: scores in float32, probabilities rounded to the half type.
// What else they do not take goes to kernels::cpu; an Error where that needs score matrices above 8 GiB.
cpu::Attention attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale);
cpu::AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                       double scale);
at::Tensor attention_jvp(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                         const at::Tensor& lse, const at::Tensor& tq, const at::Tensor& tk,
                         const at::Tensor& tv, double scale);  // kernels::cpu, with the same limit

// Convolution of history and x joined, plus bias and residual (all but x and weight may be undefined), in
// half types for tensors in the order B, T, H, W, C, which is also that of the result; one rounding at the
// end where the kernel adds bias and residual itself, else two. Kernels of 3x3 pixels with few outputs have
// one of our own on Hopper; else they are cuDNN's: with at::Context's benchmarkCuDNN the fastest of several,
// chosen by time at a shape's first call, without as cuDNN's heuristics say. Channels that are no multiples
// of 8 are padded. What cuDNN's graphs do not take goes to ATen's convolution, other types too.
at::Tensor conv3d(const at::Tensor& x, const at::Tensor& history, const at::Tensor& weight,
                  const at::Tensor& bias, const at::Tensor& residual, const ConvGeometry& geometry);

// What became of this thread's convolutions.
struct FusedConv {
  int64_t plans = 0;                          // of cuDNN
  int64_t own = 0;                            // calls by our own kernel
  int64_t fused = 0, plain = 0, refused = 0;  // by cuDNN's: with bias and residual, without; by ATen
  std::string last_refusal;
  std::vector<std::string> engines;  // a line a plan: shapes, engine, time if it was chosen by time
};
FusedConv fused_conv();

// cpu::channel_norm into the middle of a buffer with a halo (ops/conv_input.h), which is returned; an empty
// halo gives the norm alone. Results are in the order B, T, H, W, C.
at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& gamma, bool has_silu,
                        const at::Tensor& history, const Halo& halo);
// Nearest-neighbour upsampling into such a buffer.
at::Tensor upsample_nearest(const at::Tensor& x, int64_t factor, const at::Tensor& history, const Halo& halo);
// (B,factor*C,T,H,W) -> (B,C,factor*T,H,W), ops/upsample.h.
at::Tensor channels_to_frames(const at::Tensor& x, int64_t factor);

// What became of this thread's calls of attention and attention_backward, for tests and measurements.
struct FusedAttention {
  int64_t plans = 0, runs = 0, refused = 0;  // plans built, plans run, calls that went to kernels::cpu
  int64_t tiled = 0;                         // calls by our own kernels
  int64_t by_products = 0;                   // calls with heads too wide for the fused kernels
  std::string last_refusal;                  // why
};
FusedAttention fused_attention();
// Whether this program has our own kernels of attention, which Hopper runs: it was built for sm_90a.
bool has_tiled_attention();

}  // namespace orrery::kernels::cuda
