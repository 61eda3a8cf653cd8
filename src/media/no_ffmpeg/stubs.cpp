// Builds with ORRERY_FFMPEG=OFF: everything that reads or writes films fails by name.
#include "base/error.h"
#include "media/decode.h"
#include "media/encode.h"

namespace orrery {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  fail(path.string(),
       ": this program was built without FFmpeg (ORRERY_FFMPEG=OFF) and can neither read nor write "
       "films and images");
}

}  // namespace

struct VideoIndex {};
class VideoFile::Impl {};

VideoFile::VideoFile(const std::filesystem::path& path, const DecodeLimits&) {
  refuse(path);
}
VideoFile::VideoFile(const std::filesystem::path& path, std::shared_ptr<const VideoIndex>,
                     const DecodeLimits&) {
  refuse(path);
}
VideoFile::~VideoFile() = default;
VideoFile::VideoFile(VideoFile&&) noexcept = default;
VideoFile& VideoFile::operator=(VideoFile&&) noexcept = default;

// Without a constructor that returns there is no object to call these on.
int64_t VideoFile::frames() const {
  return 0;
}
int64_t VideoFile::height() const {
  return 0;
}
int64_t VideoFile::width() const {
  return 0;
}
Rational VideoFile::fps() const {
  return {};
}
double VideoFile::time_s(int64_t) const {
  return 0;
}
int64_t VideoFile::frame_at(double) const {
  return 0;
}
const std::string& VideoFile::codec() const {
  throw Error("no FFmpeg");
}
const std::vector<std::string>& VideoFile::remarks() const {
  throw Error("no FFmpeg");
}
std::shared_ptr<const VideoIndex> VideoFile::index() const {
  return nullptr;
}
at::Tensor VideoFile::read(int64_t, int64_t) {
  return {};
}
at::Tensor VideoFile::read(at::IntArrayRef) {
  return {};
}

void write_mp4(const std::filesystem::path& path, const at::Tensor&, const Mp4Options&) {
  refuse(path);
}
void write_png(const std::filesystem::path& path, const at::Tensor&) {
  refuse(path);
}
void write_jpeg(const std::filesystem::path& path, const at::Tensor&, int) {
  refuse(path);
}

}  // namespace orrery
