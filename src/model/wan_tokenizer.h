#pragma once
// The Wan2.1 video autoencoder as a tokenizer: films part by part through the network, latents scaled as
// Cosmos-Predict2.5 was trained on them.
#include "model/tokenizer.h"
#include "model/video_values.h"
#include "model/wan_vae.h"

namespace orrery {

// How much of a film is in memory at once: frames of the film in encode, a multiple of 4, latent frames in
// decode. On the CPU they do not change a bit.
struct WanWindows {
  int64_t encode = 16, decode = 1;  // as in the configs of Cosmos-Predict2.5
};

class WanTokenizer final : public VideoTokenizer {
 public:
  // The network has its weights, all on one device and of one type, which is also that of the arithmetic;
  // with one half only encode, or only decode, works. On a GPU its weights are laid out anew, for the
  // convolutions. rows: the ranks that share the work of each film (parallel/row_exchange.h), or null; they
  // make the same calls with the same films and latents, and all get the whole result. Each does all of a
  // film with fewer rows of latents than ranks. Error: latents of other than 16 channels, unsuitable windows.
  WanTokenizer(std::unique_ptr<WanVae> net, const WanWindows& windows,
               std::shared_ptr<const RowExchange> rows = nullptr);

  // Films and latents may lie elsewhere than the network: films travel part by part. encode's latents are on
  // the network's device, decode's film is where the latents are, colours side by side in memory. Of any
  // length. Error: ranks that share films of different sizes.
  at::Tensor encode(const at::Tensor& video) const override;
  at::Tensor encode_alone(const at::Tensor& video) const override;
  at::Tensor decode(const at::Tensor& latents) const override;
  int64_t channels() const override { return net_->config.z_dim; }
  int64_t temporal_factor() const override { return net_->config.temporal_factor(); }
  int64_t spatial_factor() const override { return net_->config.spatial_factor(); }

 private:
  struct Rows {
    RowShare share;
    int64_t begin, count;  // of the latents, this rank's
  };
  Rows rows_of(const at::Tensor& whole, int64_t latent_rows) const;
  at::Tensor encode_rows(const at::Tensor& video, const Rows& rows) const;
  std::unique_ptr<WanVae> net_;
  WanWindows windows_;
  at::TensorOptions options_;  // of the network's weights
  LatentScale scale_;
  std::shared_ptr<const RowExchange> exchange_;  // null: this rank does all of it
};

}  // namespace orrery
