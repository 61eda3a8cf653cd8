#include "data/film.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "data/dataset.h"
#include "media/resize.h"

namespace orrery {
namespace {

constexpr double kImageFps = 30;                     // cosmos-predict2.5: images of the mixture
constexpr double kFallbackFps = 16;                  // datasets/local_datasets/dataset_video.py
constexpr int64_t kDecodeBytes = int64_t{32} << 20;  // of stored frames held at a time

// uint8 [n,H,W,3] into frames first .. first + n - 1 of video, uint8 [3,F,H,W].
void to_planes(const at::Tensor& frames, const at::Tensor& video, int64_t first) {
  const int64_t count = frames.size(0), pixels = video.size(2) * video.size(3);
  const int64_t plane = video.size(1) * pixels;
  const auto* in = frames.const_data_ptr<uint8_t>();
  auto* out = video.mutable_data_ptr<uint8_t>() + first * pixels;
  for (int64_t f = 0; f < count; ++f, in += 3 * pixels, out += pixels)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < 3; ++c) out[c * plane + p] = in[3 * p + c];
}

}  // namespace

FilmFacts look_at_film(const std::filesystem::path& path, int64_t max_pixels) {
  std::error_code ignored;  // of a file that is not there: opening tells more
  require(!std::filesystem::is_other(std::filesystem::status(path, ignored)), path.string(),
          ": neither a file nor a link to one");
  const VideoFile file(path, {.max_pixels = max_pixels});
  FilmFacts facts;
  facts.frames = file.frames();
  facts.height = file.height();
  facts.width = file.width();
  facts.index = file.index();
  facts.fps = has_image_extension(path) ? kImageFps : file.fps().value();
  if (!std::isfinite(facts.fps) || facts.fps <= 0) facts.fps = kFallbackFps;
  for (const std::string& remark : file.remarks())
    facts.remark.append(facts.remark.empty() ? "" : "; ").append(remark);
  return facts;
}

Frames read_frames(const std::filesystem::path& path, const FilmFacts& facts, const FrameRun& run,
                   const FrameForm& form, const std::stop_token& stop) {
  const DecodeLimits limits{.max_pixels = form.max_pixels};
  VideoFile file = facts.index != nullptr ? VideoFile(path, facts.index, limits) : VideoFile(path, limits);
  const auto [height, width] = form.size;
  Frames result{.video = at::empty({3, run.count, height, width}, at::kByte), .padding_mask = {}};
  const int64_t chunk = std::max<int64_t>(1, kDecodeBytes / (facts.height * facts.width * 3));
  for (int64_t done = 0; done < run.count; done += chunk) {
    if (stop.stop_requested()) throw Stopped();
    std::vector<int64_t> numbers;
    for (int64_t f = done; f < std::min(done + chunk, run.count); ++f)
      numbers.push_back(run.first + f * run.stride);
    const at::Tensor stored = file.read(numbers);
    if (form.resize == Resize::stretch) {
      to_planes(resize_stretch(stored, height, width), result.video, done);
    } else {
      const Padded padded = resize_fit_pad(stored, height, width);
      to_planes(padded.frames, result.video, done);
      if (padded.resized_height != height || padded.resized_width != width)
        result.padding_mask = padded.padding_mask;
    }
  }
  return result;
}

Frames take_frames(const Frames& from, const FrameRun& run) {
  const int64_t frame = from.video.size(2) * from.video.size(3), all = from.video.size(1);
  Frames result{.video = at::empty({3, run.count, from.video.size(2), from.video.size(3)}, at::kByte),
                .padding_mask = from.padding_mask};
  const auto* in = from.video.const_data_ptr<uint8_t>();
  auto* out = result.video.mutable_data_ptr<uint8_t>();
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t f = 0; f < run.count; ++f, out += frame)
      std::memcpy(out, in + (c * all + run.first + f * run.stride) * frame, frame);
  return result;
}

}  // namespace orrery
