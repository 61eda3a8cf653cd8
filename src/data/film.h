#pragma once
// One film file: what a first look tells, and runs of its frames as training wants them. Called by the data
// sets that read films.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "base/config.h"
#include "data/bucket.h"
#include "media/decode.h"

namespace orrery {

struct FilmFacts {
  int64_t frames = 0, height = 0, width = 0;
  double fps = 0;      // 30 for still images, as the reference has it; 16 if the film tells none
  std::string remark;  // damage that does not prevent reading; or empty
  std::shared_ptr<const VideoIndex> index;  // null: found anew for each reading
};

// Opens the film. Throws Error with the file's name and the reason if it cannot be read.
FilmFacts look_at_film(const std::filesystem::path& path, int64_t max_pixels);

struct FrameRun {
  int64_t first = 0, count = 0, stride = 1;
};
struct FrameForm {
  FrameSize size;
  Resize resize = Resize::stretch;
  int64_t max_pixels = 0;  // of a stored frame
};
struct Frames {
  at::Tensor video;         // uint8 [3,F,H,W] RGB, contiguous
  at::Tensor padding_mask;  // float32 [H,W], 1 on padded pixels; undefined: nothing padded
};

// Holds a few stored frames at a time. Throws Error with the file's name if one cannot be decoded, and
// Stopped (dataset.h) between frames when the token asks for it.
Frames read_frames(const std::filesystem::path& path, const FilmFacts& facts, const FrameRun& run,
                   const FrameForm& form, const std::stop_token& stop);

// Frames first, first + stride, ... of frames that were read with stride 1.
Frames take_frames(const Frames& from, const FrameRun& run);

}  // namespace orrery
