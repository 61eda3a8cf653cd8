#pragma once
// The seam between pixels and latents. Trainer, sampler and evaluation know tokenizers only by this
// interface; the linear stand-in (linear_tokenizer.h) and the Wan VAE stand behind it.
#include <ATen/core/Tensor.h>

namespace orrery {

class VideoTokenizer {
 public:
  virtual ~VideoTokenizer() = default;

  // uint8 [B,3,F,H,W] to float32 latents [B,C,T,H/8,W/8], T = latent_frames(F). Causal: latent frame t
  // depends on film frames 0 to 4 t alone. Latents have about unit variance.
  virtual at::Tensor encode(const at::Tensor& video) const = 0;
  // The same of a film that this rank alone has, where ranks share the work of films (wan_tokenizer.h).
  virtual at::Tensor encode_alone(const at::Tensor& video) const { return encode(video); }

  // Floating-point latents [B,C,T,h,w] to uint8 [B,3,pixel_frames(T),8 h,8 w].
  virtual at::Tensor decode(const at::Tensor& latents) const = 0;

  virtual int64_t channels() const = 0;         // C
  virtual int64_t temporal_factor() const = 0;  // film frames of a latent frame, after the first; 4 above
  virtual int64_t spatial_factor() const = 0;   // rows, and columns, of a latent pixel; 8 above

  int64_t latent_frames(int64_t frames) const;  // 1 + (F - 1) / 4; throws unless F = 1 + 4 n
  int64_t pixel_frames(int64_t latent_frames) const;
  std::vector<int64_t> latent_shape(int64_t frames, int64_t height, int64_t width) const;  // (C,T,h,w)
};

// Throw unless the tensor fits encode and decode: dtype, axes, divisible sizes. For implementations.
void check_video(const at::Tensor& video, int64_t temporal_factor, int64_t spatial_factor);
void check_latents(const at::Tensor& latents, int64_t channels);

}  // namespace orrery
