#pragma once
// The clip that generation starts from: the given frames of an image or a film at the model's size, with
// filler behind them. Called by the generate command. Source: cosmos-predict2.5, inference/video2world.py
// (read_and_process_image, read_and_process_video, resize_input).
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace orrery {

// Pixel frames that make up so many given latent frames of a causal 4x tokenizer: 0, 1, 5, 9, ...
constexpr int64_t given_pixels(int64_t latent_frames) {
  return latent_frames == 0 ? 0 : 4 * (latent_frames - 1) + 1;
}

// What stands behind the given frames. A causal tokenizer keeps it apart from them, so no result depends on
// it.
enum class Filler { black, last_frame };  // of images; of films

struct ConditionForm {
  int64_t frames = 0, height = 0, width = 0;  // of the clip
  int64_t given = 0;                          // latent frames of it
  Filler filler = Filler::last_frame;
};

// frames: uint8 [N,H,W,3], of which the last given_pixels(given) come first in the clip: scaled to cover
// height x width, bilinear, and cut from the centre. Returns uint8 [3,F,height,width], all black where
// nothing is given. Throws Error for fewer frames than that, or more than the clip has.
at::Tensor condition_clip(const at::Tensor& frames, const ConditionForm& form);

}  // namespace orrery
