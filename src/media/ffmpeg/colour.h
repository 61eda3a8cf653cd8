#pragma once
// Decoded pictures to interleaved 8-bit RGB. Internal to src/media.
#include <string>

#include "media/ffmpeg/av.h"

namespace orrery::ffmpeg {

// Keeps the conversion tables of the last picture layout.
class RgbConverter {
 public:
  // Writes height x width x 3 bytes, scaling if the picture has another size. Matrix and range are those of
  // the picture's tags; untagged: BT.601, limited range. Throws Error (with `name`) for matrices that cannot
  // be undone (constant luminance BT.2020, ICtCp, YCgCo).
  void convert(const AVFrame& frame, int height, int width, uint8_t* rgb, const std::string& name);

 private:
  struct Layout {
    int width = 0, height = 0, format = -1, matrix = -1, out_width = 0, out_height = 0;
    bool full_range = false;
    bool operator==(const Layout&) const = default;
  };
  void prepare(const Layout& layout, const std::string& name);

  Layout layout_;
  Owned<SwsContext> sws_;
  std::unique_ptr<uint8_t, void (*)(void*)> row_buffer_{nullptr, av_free};
  int row_bytes_ = 0;
};

}  // namespace orrery::ffmpeg
