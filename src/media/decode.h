#pragma once
// Films and still images as uint8 RGB frames by frame number. Called by src/data and by generation.
// A frame number counts the frames that a player shows, in display order: edit lists are obeyed, hidden
// (alt-ref) frames and frames that cannot be decoded (leading B-frames of a cut stream, a truncated end) have
// no number. Rotation and pixel aspect tags are not applied. A still image is a film of one frame. Colour:
// the tagged matrix and range; untagged YUV is read as BT.601 limited range (as swscale, PyAV and decord do),
// untagged grey of image codecs as full range. Alpha is dropped.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace orrery {

struct Rational {
  int64_t num = 0, den = 1;
  double value() const { return static_cast<double>(num) / static_cast<double>(den); }
  bool operator==(const Rational&) const = default;
};

// Checked before anything of that size is allocated or decoded.
struct DecodeLimits {
  int64_t max_pixels = int64_t{1} << 26;  // of one frame (8192 x 8192)
  int64_t max_frames = int64_t{1} << 22;  // of one film (38 hours at 30 frames per second)
  int64_t max_scan_pixels = int64_t{1}
                            << 38;  // decoded to number the frames of a film without a reliable index
  int64_t max_read_bytes = int64_t{1} << 33;  // of one read()
  int64_t max_streams = 64;                   // in the container
};

// What a first look at a film found out. Immutable; keep it and pass it to VideoFile to open the film again
// without another scan (the file must not have changed: its size is compared).
struct VideoIndex;

class VideoFile {
 public:
  // Opens and scans: reads all packets, and decodes all frames where packets alone do not tell which frames
  // are shown. Throws Error with the file's name and the reason: not a film, no video stream, truncated
  // header, over a limit, ...
  explicit VideoFile(const std::filesystem::path& path, const DecodeLimits& limits = {});
  VideoFile(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index,
            const DecodeLimits& limits = {});
  ~VideoFile();
  VideoFile(VideoFile&&) noexcept;
  VideoFile& operator=(VideoFile&&) noexcept;

  int64_t frames() const;
  int64_t height() const;  // stored pixels of the first frame; frames of another size are scaled to it
  int64_t width() const;
  Rational fps() const;  // nominal rate; of a variable rate the finest grid
  double start_s() const { return time_s(0); }
  double time_s(int64_t frame) const;     // time stamp in seconds; frame / fps where the file has none
  int64_t frame_at(double time_s) const;  // the frame on screen: the last with a time stamp <= time_s, else 0
  const std::string& codec() const;       // "h264"
  // Remarks on damage that did not prevent decoding, such as "data end early: 22 of 48 frames".
  const std::vector<std::string>& remarks() const;
  std::shared_ptr<const VideoIndex> index() const;

  // uint8 [F,H,W,3] RGB. Throws Error that names file and frame if one cannot be decoded. Reading on from the
  // last frame read does not seek.
  at::Tensor read(int64_t first, int64_t count);
  at::Tensor read(at::IntArrayRef frames);  // any order, repetitions allowed

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// By the name's ending alone: films (.mp4 .mov .webm .avi .mpg .mpeg .ogv .mkv .m4v .ts) and images (.png
// .jpg .jpeg .webp). Opening goes by content.
bool has_video_extension(const std::filesystem::path& path);
bool has_image_extension(const std::filesystem::path& path);

}  // namespace orrery
