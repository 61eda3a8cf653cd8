#include "media/decode.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "media/ffmpeg/colour.h"
#include "media/ffmpeg/video_index.h"

namespace orrery {

class VideoFile::Impl {
 public:
  Impl(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index, const DecodeLimits& limits)
      : name_(path.string()), limits_(limits), source_(path, limits) {
    if (index != nullptr) {
      require(std::filesystem::file_size(path) == index->file_bytes, name_,
              ": the file changed since it was scanned");
      index_ = std::move(index);
      return;
    }
    auto found = std::make_shared<VideoIndex>(scan(source_, path, limits));
    index_ = found;
    const AVFrame& first = go_to(0);
    found->height = first.height;
    found->width = first.width;
  }

  const std::shared_ptr<const VideoIndex>& index() const { return index_; }
  at::Tensor read(at::IntArrayRef frames);

 private:
  const AVFrame& go_to(int64_t frame);
  const AVFrame* advance_to(int64_t frame);
  bool is_near(int64_t frame) const;
  [[noreturn]] void refuse(int64_t frame) const;

  std::string name_;
  DecodeLimits limits_;
  ffmpeg::FrameSource source_;
  std::shared_ptr<const VideoIndex> index_;
  ffmpeg::RgbConverter converter_;
  int64_t next_ = 0;   // number of the frame that source_.next() gives; -1: to be found out
  int64_t held_ = -1;  // number of the frame in hand
  const AVFrame* frame_ = nullptr;
};

// Decodes on until the frame is there; null if the film ends or the frame is passed.
const AVFrame* VideoFile::Impl::advance_to(int64_t frame) {
  while (const AVFrame* decoded = source_.next()) {
    int64_t number = next_;
    if (index_->from_packets || next_ < 0) {
      const auto found = index_->frame_with(decoded->best_effort_timestamp);
      if (!found) continue;  // not shown: outside of the edit list
      number = *found;
    }
    next_ = number + 1;
    if (number > frame) return nullptr;
    if (number < frame) continue;
    const bool same = index_->from_packets || frame_checksum(*decoded) == index_->checksums[frame];
    return same ? decoded : nullptr;
  }
  return nullptr;
}

bool VideoFile::Impl::is_near(int64_t frame) const {
  if (next_ < 0 || frame < next_) return false;
  const ffmpeg::KeyPacket* key = index_->key_before(frame);
  return key == nullptr || key->frame <= next_ || !index_->pts_increase;
}

// The frame, by the shortest way that works: on from here, from the key frame before it, from the beginning.
const AVFrame& VideoFile::Impl::go_to(int64_t frame) {
  if (frame == held_) return *frame_;
  held_ = -1;
  frame_ = is_near(frame) ? advance_to(frame) : nullptr;
  if (frame_ == nullptr && index_->pts_increase) {
    const ffmpeg::KeyPacket* key = index_->key_before(frame);
    next_ = -1;
    if (key != nullptr && key->frame > 0 && key->pts != AV_NOPTS_VALUE && source_.seek(*key))
      frame_ = advance_to(frame);
  }
  if (frame_ == nullptr) {
    source_.rewind();
    next_ = 0;
    frame_ = advance_to(frame);
  }
  if (frame_ == nullptr) refuse(frame);
  held_ = frame;
  return *frame_;
}

void VideoFile::Impl::refuse(int64_t frame) const {
  fail(name_, ": frame ", frame, " of ", index_->frames, " cannot be decoded",
       source_.trouble().empty() ? std::string() : text_of(" (", source_.trouble(), ")"));
}

at::Tensor VideoFile::Impl::read(at::IntArrayRef frames) {
  const int64_t count = static_cast<int64_t>(frames.size()), frame_bytes = index_->height * index_->width * 3;
  for (const int64_t frame : frames)
    require(frame >= 0 && frame < index_->frames, name_, ": frame ", frame, " asked for, it has frames 0 to ",
            index_->frames - 1);
  require(count <= limits_.max_read_bytes / frame_bytes, name_, ": ", count, " frames of ", index_->width,
          "x", index_->height, " are above the limit of ", limits_.max_read_bytes, " bytes for one read");
  at::Tensor result = at::empty({count, index_->height, index_->width, 3}, at::kByte);
  auto* pixels = result.mutable_data_ptr<uint8_t>();
  std::vector<int64_t> order(count);  // by frame number, so that the film is read forwards
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return frames[a] < frames[b]; });
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* target = pixels + order[i] * frame_bytes;
    if (i > 0 && frames[order[i]] == frames[order[i - 1]])
      std::memcpy(target, pixels + order[i - 1] * frame_bytes, frame_bytes);
    else
      converter_.convert(go_to(frames[order[i]]), static_cast<int>(index_->height),
                         static_cast<int>(index_->width), target, name_);
  }
  return result;
}

VideoFile::VideoFile(const std::filesystem::path& path, const DecodeLimits& limits)
    : impl_(std::make_unique<Impl>(path, nullptr, limits)) {}
VideoFile::VideoFile(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index,
                     const DecodeLimits& limits)
    : impl_(std::make_unique<Impl>(path, std::move(index), limits)) {}
VideoFile::~VideoFile() = default;
VideoFile::VideoFile(VideoFile&&) noexcept = default;
VideoFile& VideoFile::operator=(VideoFile&&) noexcept = default;

int64_t VideoFile::frames() const {
  return impl_->index()->frames;
}
int64_t VideoFile::height() const {
  return impl_->index()->height;
}
int64_t VideoFile::width() const {
  return impl_->index()->width;
}
Rational VideoFile::fps() const {
  return impl_->index()->fps;
}
const std::string& VideoFile::codec() const {
  return impl_->index()->codec;
}
const std::vector<std::string>& VideoFile::remarks() const {
  return impl_->index()->remarks;
}
std::shared_ptr<const VideoIndex> VideoFile::index() const {
  return impl_->index();
}

double VideoFile::time_s(int64_t frame) const {
  const VideoIndex& index = *impl_->index();
  require(frame >= 0 && frame < index.frames, "time_s: frame ", frame, " of ", index.frames);
  if (index.pts.empty()) return static_cast<double>(frame) / index.fps.value();
  return static_cast<double>(index.pts[frame]) * index.time_base.value();
}

int64_t VideoFile::frame_at(double time_s) const {
  // A stamp that differs by rounding alone counts as reached. Where stamps jump back, the first run of them
  // counts.
  const double tolerance = 1e-6;
  int64_t low = 0, high = frames();
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (this->time_s(middle) <= time_s + tolerance ? low : high) = middle;
  }
  return low;
}

at::Tensor VideoFile::read(int64_t first, int64_t count) {
  require(count >= 0, "read: ", count, " frames");
  require(first >= 0 && count <= frames() && first <= frames() - count, "read: ", count,
          " frames from frame ", first, " on, of a film of ", frames());
  std::vector<int64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), first);
  return impl_->read(numbers);
}

at::Tensor VideoFile::read(at::IntArrayRef frames) {
  return impl_->read(frames);
}

}  // namespace orrery
