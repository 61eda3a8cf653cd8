#include "parity/prep.h"

#include <ATen/ops/tensor.h>

#include "infer/condition_clip.h"
#include "media/resize.h"
#include "parity/options.h"

namespace orrery {
namespace {

// inputs.frames [F,3,H,W] as the library has frames, [F,H,W,3].
at::Tensor frames_of(const Case& c) {
  const at::Tensor frames = c.input("frames", at::kCPU);
  require(frames.scalar_type() == at::kByte && frames.dim() == 4 && frames.size(1) == 3,
          "inputs.frames: wanted uint8 [F,3,H,W], got ", frames.scalar_type(), " ", frames.sizes());
  return frames.permute({0, 2, 3, 1}).contiguous();
}

at::Tensor planes_of(const at::Tensor& frames) {
  return frames.permute({0, 3, 1, 2}).contiguous();
}

std::pair<int64_t, int64_t> pair_option(const Case& c, const std::string& key) {
  const auto list = c.option<std::vector<int64_t>>(key);
  require(list.size() == 2, "config option ", key, " has ", list.size(), " values, wanted 2");
  return {list[0], list[1]};
}

}  // namespace

NamedTensors run_prep_dit_condition(const Case& c, at::Device) {
  require_known_options(c, {"kind", "resolution", "num_video_frames", "num_latent_conditional_frames"});
  const auto filler = choice<Filler>(c, "kind", {{"image", Filler::black}, {"video", Filler::last_frame}});
  const auto [height, width] = pair_option(c, "resolution");
  const int64_t given = filler == Filler::black ? 1 : c.option<int64_t>("num_latent_conditional_frames");
  return {{"video", condition_clip(frames_of(c), {.frames = c.count_option("num_video_frames"),
                                                  .height = height,
                                                  .width = width,
                                                  .given = given,
                                                  .filler = filler})}};
}

NamedTensors run_prep_dit_data(const Case& c, at::Device) {
  require_known_options(c, {"height", "width"});
  return {{"frames",
           planes_of(resize_stretch(frames_of(c), c.option<int64_t>("height"), c.option<int64_t>("width")))}};
}

NamedTensors run_prep_dit_pad(const Case& c, at::Device) {
  require_known_options(c, {"size"});
  const auto [width, height] = pair_option(c, "size");
  const Padded padded = resize_fit_pad(frames_of(c), height, width);
  const auto size = [](int64_t value) { return static_cast<float>(value); };
  return {{"frames", planes_of(padded.frames)},
          {"padding_mask", padded.padding_mask.unsqueeze(0)},
          {"image_size",
           at::tensor({size(height), size(width), size(padded.resized_height), size(padded.resized_width)})}};
}

}  // namespace orrery
