#include "model/tokenizer.h"

#include "base/error.h"

namespace orrery {
namespace {

void check_frames(int64_t frames, int64_t factor) {
  require(frames >= 1 && (frames - 1) % factor == 0, "tokenizer: ", frames, " frames, wanted 1 + ", factor,
          " n (is data.frames right?)");
}

}  // namespace

int64_t VideoTokenizer::latent_frames(int64_t frames) const {
  check_frames(frames, temporal_factor());
  return 1 + (frames - 1) / temporal_factor();
}

int64_t VideoTokenizer::pixel_frames(int64_t latent_frames) const {
  require(latent_frames >= 1, "tokenizer: ", latent_frames, " latent frames, wanted at least 1");
  return 1 + (latent_frames - 1) * temporal_factor();
}

std::vector<int64_t> VideoTokenizer::latent_shape(int64_t frames, int64_t height, int64_t width) const {
  return {channels(), latent_frames(frames), height / spatial_factor(), width / spatial_factor()};
}

void check_video(const at::Tensor& video, int64_t temporal_factor, int64_t spatial_factor) {
  require(video.scalar_type() == at::kByte && video.dim() == 5 && video.size(1) == 3, "tokenizer: video ",
          video.dtype(), " ", video.sizes(), ", wanted uint8 [B,3,F,H,W]");
  check_frames(video.size(2), temporal_factor);
  const int64_t height = video.size(3), width = video.size(4);
  require(height > 0 && width > 0 && height % spatial_factor == 0 && width % spatial_factor == 0,
          "tokenizer: pictures of ", height, " x ", width, ", wanted multiples of ", spatial_factor,
          " (are data.height and data.width right?)");
}

void check_latents(const at::Tensor& latents, int64_t channels) {
  require(latents.is_floating_point() && latents.dim() == 5 && latents.size(1) == channels &&
              latents.size(2) > 0 && latents.size(3) > 0 && latents.size(4) > 0,
          "tokenizer: latents ", latents.dtype(), " ", latents.sizes(), ", wanted floating point [B,",
          channels, ",T,h,w]");
  require(latents.is_meta() || latents.isfinite().all().item<bool>(),  // plans have no values
          "tokenizer: latents hold NaN or Inf (did the sampler diverge?)");
}

}  // namespace orrery
