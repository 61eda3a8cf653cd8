#pragma once
// Folders of small films made from code, for tests of data sets.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "fixtures.h"
#include "media/encode.h"

namespace orrery::test {

// uint8 [F,height,width,3]: grey level 8 f + 5 number of frame f, all pixels alike.
inline at::Tensor flat_frames(int64_t number, int64_t frames, int64_t height, int64_t width) {
  at::Tensor pixels = at::empty({frames, height, width, 3}, at::kByte);
  for (int64_t f = 0; f < frames; ++f) pixels.select(0, f).fill_((8 * f + 5 * number) % 250);
  return pixels;
}

inline std::string film_name(int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(4 - digits.size(), '0') + digits;
}

// DIR/videos and DIR/metas with films "0000.mp4" ... whose captions are "film 0" ...
class FilmFolder {
 public:
  FilmFolder() {
    std::filesystem::create_directories(path() / "videos");
    std::filesystem::create_directories(path() / "metas");
  }
  std::filesystem::path path() const { return scratch_.path(); }
  std::filesystem::path film(int64_t number) const {
    return path() / "videos" / (film_name(number) + ".mp4");
  }
  std::filesystem::path caption(int64_t number) const {
    return path() / "metas" / (film_name(number) + ".txt");
  }
  void add(int64_t number, int64_t frames, int64_t height = 32, int64_t width = 48) const {
    write_mp4(film(number), flat_frames(number, frames, height, width),
              {.fps = {10, 1}, .crf = 0, .preset = "ultrafast"});
    write_file(caption(number), "film " + std::to_string(number) + "\n");
  }
  void add_bad(int64_t number) const {
    write_file(film(number), "this is not a film");
    write_file(caption(number), "bad");
  }

 private:
  ScratchFolder scratch_;
};

}  // namespace orrery::test
