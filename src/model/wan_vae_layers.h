#pragma once
// Layers of the Wan2.1 video autoencoder. Member names are checkpoint keys. Axes: B batch, C channels, T
// frames, H W rows and columns. Every layer is causal in time: it takes a film in parts, one after the other,
// and keeps in a FrameCache what the next part needs; the parts' results joined in time are the whole film's.
// Source: Wan-Video/Wan2.1 wan/modules/vae.py.
#include <array>
#include <unordered_map>

#include "autograd/module.h"
#include "autograd/scope.h"
#include "ops/conv3d.h"
#include "ops/conv_input.h"

namespace orrery {

// The rows of a film's pictures that this rank has: heights[r] rows of the latents are rank r's, from the
// top. Whole pictures, by default.
struct RowShare {
  std::shared_ptr<const RowExchange> exchange;
  std::vector<int64_t> heights;
};
// `latent_rows` in shares that differ by one row at most. Error: fewer rows than ranks.
RowShare share_rows(std::shared_ptr<const RowExchange> exchange, int64_t latent_rows);

// What goes with one film through the layers: the frames that they remember between its parts, and whose rows
// they see. A fresh one begins a film; a copy is a snapshot.
class FrameCache {
 public:
  explicit FrameCache(RowShare share = {}) : share_(std::move(share)) {}
  bool is_fresh() const { return history_.empty(); }
  Variable& operator[](const Module& reader) { return history_[&reader]; }  // undefined before the first part
  const RowExchange* rows() const { return share_.exchange.get(); }         // null: whole pictures
  const RowShare& share() const { return share_; }
  int64_t bytes() const;  // of the frames that are remembered

 private:
  RowShare share_;
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

// ops/channel_norm.h. The checkpoint stores gamma with the axes that follow the channels, each of size 1.
struct ChannelNorm final : Module {
  ChannelNorm(Module* parent, std::string name, int64_t channels, int64_t axes);
  Parameter gamma;
  Variable operator()(const Variable& x_BCTHW) const;
  Variable silu(const Variable& x_BCTHW, const ops::Around& around) const;  // SiLU of the norm, with a halo
};

// Zeros on both sides in space, in time before the film only: 2 * padding[0] frames. The cache holds that
// many last frames of the layer's input, fewer at a film's beginning.
struct CausalConv3d final : VaeLayer {
  CausalConv3d(Module* parent, std::string name, const CausalConv3dConfig& config);
  CausalConv3dConfig config;
  Parameter weight, bias;  // (out,in,kt,kh,kw), (out)
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const override;
  // Of the SiLU of the norm, plus residual where it is defined.
  Variable operator()(const ChannelNorm& norm, const Variable& x_BCTHW, const Variable& residual,
                      FrameCache& cache) const;
  // Valid in time: the frames are those of history, or undefined, and x.
  Variable after(const Variable& history, const Variable& x_BCTHW) const;

 private:
  ops::Around around(FrameCache& cache) const;
  void remember(const Variable& joined, int64_t fresh, FrameCache& cache) const;
  ConvGeometry geometry(const FrameCache& cache) const;
};

// Convolution of single frames; the weight has two spatial axes. Zeros lie around the picture.
struct FrameConv final : Module {
  FrameConv(Module* parent, std::string name, int64_t in, int64_t out, int64_t kernel);
  Parameter weight, bias;  // (out,in,kernel,kernel), (out)
  struct Zeros {
    int64_t before, after;  // rows above and columns to the left; below and to the right
  };
  Variable operator()(const Variable& x_BCTHW, int64_t stride, const Zeros& zeros,
                      const FrameCache& cache) const;
  Variable plus(const Variable& residual, const Variable& x_BCTHW) const;  // of a kernel of one pixel
  Variable of_upsampled(const Variable& x_BCTHW, int64_t factor, const Zeros& zeros,
                        const FrameCache& cache) const;

 private:
  Variable of_input(const Variable& joined, int64_t stride, const Zeros& zeros, const Halo& halo) const;
  Variable weight_in_time() const;  // (out,in,1,kernel,kernel)
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
  // One frame: queries, keys and values of this rank's rows (B,3C,1,H,W) -> (B,C,1,H,W).
  Variable attend(const Variable& qkv_BCHW, const FrameCache& cache) const;
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
