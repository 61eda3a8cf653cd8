#include "infer/condition_clip.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "media/resize.h"

namespace orrery {

at::Tensor condition_clip(const at::Tensor& frames, const ConditionForm& form) {
  const int64_t given = given_pixels(form.given), rest = form.frames - given;
  require(form.frames > 0 && form.given >= 0 && rest >= 0, "condition clip: ", form.given,
          " given latent frames are ", given, " frames, the clip has ", form.frames);
  at::Tensor filler = at::zeros({1, form.height, form.width, 3}, at::kByte);
  at::Tensor clip = filler.slice(0, 0, 0);
  if (given > 0) {
    require(frames.defined() && frames.dim() == 4 && frames.size(0) >= given,
            "condition clip: ", frames.defined() ? frames.size(0) : 0, " frames, wanted at least ", given,
            " for ", form.given, " given latent frames");
    clip = resize_cover_crop(frames.slice(0, frames.size(0) - given), form.height, form.width);
    if (form.filler == Filler::last_frame) filler = clip.slice(0, given - 1);
  }
  return at::cat({clip, filler.expand({rest, -1, -1, -1})}).permute({3, 0, 1, 2}).contiguous();
}

}  // namespace orrery
