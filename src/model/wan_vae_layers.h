#pragma once
// Layers of the Wan2.1 video autoencoder. Member names are checkpoint keys. Axes: B batch, C channels, T
// frames, H W rows and columns. Every layer is causal in time: it takes a film in parts, one after the other,
// and keeps in a FrameCache what the next part needs; the parts' results joined in time are the whole film's.
// Source: Wan-Video/Wan2.1 wan/modules/vae.py.
#include <array>
#include <unordered_map>

#include "autograd/module.h"
#include "autograd/scope.h"

namespace orrery {

// The frames that layers remember between parts of one film. A fresh one begins a film; a copy is a snapshot.
class FrameCache {
 public:
  bool is_fresh() const { return history_.empty(); }
  Variable& operator[](const Module& reader) { return history_[&reader]; }  // undefined before the first part

 private:
  std::unordered_map<const Module*, Variable> history_;
};

// What takes the place of an nn.Sequential's entry.
struct VaeLayer : Module {
  using Module::Module;
  virtual Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const = 0;
};
using VaeLayers = std::vector<std::unique_ptr<VaeLayer>>;

struct CausalConv3dConfig {
  int64_t in, out;
  std::array<int64_t, 3> kernel, stride{1, 1, 1}, padding{};  // time, rows, columns
};

// Zeros on both sides in space, in time before the film only: 2 * padding[0] frames. The cache holds that
// many last frames of the layer's input, fewer at a film's beginning.
struct CausalConv3d final : VaeLayer {
  CausalConv3d(Module* parent, std::string name, const CausalConv3dConfig& config);
  CausalConv3dConfig config;
  Parameter weight, bias;  // (out,in,kt,kh,kw), (out)
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;
  // history: frames before x, or undefined; zeros for those that are missing.
  Variable after(const Variable& history, const Variable& x_BCTHW) const;
};

// Convolution of single frames; the weight has two spatial axes.
struct FrameConv final : Module {
  FrameConv(Module* parent, std::string name, int64_t in, int64_t out, int64_t kernel);
  Parameter weight, bias;  // (out,in,kernel,kernel), (out)
  Variable operator()(const Variable& x_BCTHW, int64_t stride, int64_t pad_before, int64_t pad_after) const;
};

// ops/channel_norm.h. The checkpoint stores gamma with the axes that follow the channels, each of size 1.
struct ChannelNorm final : Module {
  ChannelNorm(Module* parent, std::string name, int64_t channels, int64_t axes);
  Parameter gamma;
  Variable operator()(const Variable& x_BCTHW) const;
  Variable silu(const Variable& x_BCTHW) const;  // SiLU of the norm
};

// x, or a 1x1x1 convolution of it, plus two rounds of norm, SiLU and 3x3x3 convolution.
struct VaeResidualBlock final : VaeLayer {
  VaeResidualBlock(Module* parent, std::string name, int64_t in, int64_t out);
  ChannelNorm norm1;                       // residual.0
  CausalConv3d conv1;                      // residual.2
  ChannelNorm norm2;                       // residual.3
  CausalConv3d conv2;                      // residual.6
  std::unique_ptr<CausalConv3d> shortcut;  // null where in == out
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;
};

// Attention among the pixels of a frame, one head of all channels; x is added.
struct VaeAttention final : VaeLayer {
  VaeAttention(Module* parent, std::string name, int64_t channels);
  ChannelNorm norm;
  FrameConv to_qkv, proj;
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;

 private:
  Variable attend(const Variable& qkv_BCHW) const;  // one frame, (B,3C,1,H,W) -> (B,C,1,H,W)
};

// Half the rows and columns, then, with `time`, half the frames: 1 + 2n become 1 + n at a film's beginning,
// 2n become n later. The first frame is not convolved in time.
struct VaeDownsample final : VaeLayer {
  VaeDownsample(Module* parent, std::string name, int64_t channels, bool time);
  FrameConv resample;                       // resample.1
  std::unique_ptr<CausalConv3d> time_conv;  // null: space only
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;
};

// With `time`, twice the frames: 1 + n become 1 + 2n at a film's beginning, n become 2n later. Then twice the
// rows and columns and half the channels. The first frame is neither convolved in time nor seen by those
// after.
struct VaeUpsample final : VaeLayer {
  VaeUpsample(Module* parent, std::string name, int64_t channels, bool time);
  FrameConv resample;                       // resample.1
  std::unique_ptr<CausalConv3d> time_conv;  // null: space only
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;

 private:
  Variable doubled(const Variable& x_BCTHW, FrameCache& cache) const;
};

}  // namespace orrery
