#pragma once
// The Wan2.1 video autoencoder as Cosmos-Predict2.5 uses it: causal in time, 4 frames x 8 x 8 pixels to a
// latent pixel of 16 channels, the first frame alone. Inference takes the posterior's mean. Used by
// wan_tokenizer.h. Member names are the keys of Wan2.1_VAE.pth (tokenizer.pth). Source: Wan-Video/Wan2.1
// wan/modules/vae.py.
#include <optional>

#include "model/wan_vae_layers.h"

namespace orrery {

struct WanVaeConfig {
  int64_t dim = 96;    // channels at full resolution
  int64_t z_dim = 16;  // latent channels
  std::vector<int64_t> dim_mult{1, 2, 4, 4};
  int64_t num_res_blocks = 2;
  std::vector<bool> temporal_downsample{false, true, true};

  int64_t spatial_factor() const;   // pixels of a latent pixel's side: 8
  int64_t temporal_factor() const;  // frames of a latent frame, after the first: 4
};

// Which half is built: the other's weights are neither held nor loaded.
enum class WanVaePart { both, encoder, decoder };

struct VaeEncoder final : Module {
  VaeEncoder(Module* parent, std::string name, const WanVaeConfig& config);
  CausalConv3d conv1;
  VaeLayers downsamples, middle;
  ChannelNorm norm;                                                       // head.0
  CausalConv3d head;                                                      // head.2
  Variable operator()(const Variable& x_BCTHW, FrameCache& cache) const;  // (B,2z,T',H',W')
};

struct VaeDecoder final : Module {
  VaeDecoder(Module* parent, std::string name, const WanVaeConfig& config);
  CausalConv3d conv1;
  VaeLayers middle, upsamples;
  ChannelNorm norm;                                                       // head.0
  CausalConv3d head;                                                      // head.2
  Variable operator()(const Variable& z_BCTHW, FrameCache& cache) const;  // (B,3,T,H,W)
};

struct WanVae final : Module {
  // Error: a config that describes no such network.
  WanVae(const WanVaeConfig& config, WanVaePart part);
  WanVaeConfig config;
  std::unique_ptr<VaeEncoder> encoder;  // these two null in WanVaePart::decoder
  std::unique_ptr<CausalConv3d> conv1;
  std::unique_ptr<CausalConv3d> conv2;  // these two null in WanVaePart::encoder
  std::unique_ptr<VaeDecoder> decoder;

  // A part of a film (B,3,F,H,W), values about -1 to 1, to the posterior's mean (B,z,T,H/8,W/8): F = 1 + 4 n
  // with a fresh cache, 4 n frames later. Any partition gives the whole film's latents: on the CPU bit for
  // bit (ops/conv3d.h). Error: another number of frames, sides that are not multiples of 8.
  Variable encode_part(const Variable& x, FrameCache& cache) const;
  // A part of the latents, any number of frames, not normalised, to (B,3,F,H,W), which is not clamped.
  Variable decode_part(const Variable& z, FrameCache& cache) const;

  // The whole film, the first frame alone and then `window` frames at a time (of the latents in decode; the
  // last part may be shorter), or, without a window, all at once.
  Variable encode(const Variable& x, std::optional<int64_t> window) const;
  Variable decode(const Variable& z, std::optional<int64_t> window) const;
};

// The parts of `frames` frames: 0 to 1, then `window` each; one part without a window.
struct FrameRange {
  int64_t begin, end;
};
std::vector<FrameRange> film_parts(int64_t frames, std::optional<int64_t> window);

}  // namespace orrery
