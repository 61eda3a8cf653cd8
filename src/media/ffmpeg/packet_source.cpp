#include <array>
#include <string_view>

#include "base/error.h"
#include "media/ffmpeg/frame_source.h"

namespace orrery::ffmpeg {
namespace {

constexpr std::string_view kMp4 = "mov,mp4,m4a,3gp,3g2,mj2", kMatroska = "matroska,webm";
constexpr std::array<std::string_view, 6> kFilms = {kMp4, kMatroska, "avi", "mpeg", "mpegts", "ogg"};
constexpr std::array<std::string_view, 3> kImages = {"png_pipe", "jpeg_pipe", "webp_pipe"};

bool contains(const auto& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

struct Options {
  AVDictionary* entries = nullptr;
  void set(const char* key, int64_t value) { av_dict_set_int(&entries, key, value, 0); }
  void set(const char* key, const char* value) { av_dict_set(&entries, key, value, 0); }
  ~Options() { av_dict_free(&entries); }
};

void require_regular_file(const std::filesystem::path& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  require(std::filesystem::exists(status), path.string(), ": no such file");
  require(std::filesystem::is_regular_file(status), path.string(), ": not a regular file");
  const auto bytes = std::filesystem::file_size(path, code);
  require(!code, path.string(), ": ", code.message());
  require(bytes > 0, path.string(), ": the file is empty (0 bytes)");
}

}  // namespace

void PacketSource::CloseFormat::operator()(AVFormatContext* c) const {
  AVIOContext* io = c->pb;
  avformat_close_input(&c);
  avio_closep(&io);
}

PacketSource::PacketSource(const std::filesystem::path& path, const DecodeLimits& limits)
    : path_(path), limits_(limits) {
  initialise();
  require_regular_file(path);
  reopen();
}

void PacketSource::reopen() {
  format_.reset();
  stream_ = nullptr;
  ended_early_ = false;
  open();
  find_streams();
  choose_stream();
}

void PacketSource::open() {
  const LogCapture log;
  const std::string url = "file:" + path_.string();
  AVIOContext* io = nullptr;
  int code = avio_open(&io, url.c_str(), AVIO_FLAG_READ);
  require(code >= 0, path_.string(), ": cannot be read: ", reason_text(code, log));
  const AVInputFormat* kind = nullptr;
  code = av_probe_input_buffer2(io, &kind, "", nullptr, 0, 0);  // no name: by content alone
  const bool known = code >= 0 && (contains(kFilms, kind->name) || contains(kImages, kind->name));
  AVFormatContext* context = known ? avformat_alloc_context() : nullptr;
  if (context == nullptr) {
    avio_closep(&io);
    fail(path_.string(), ": not a film or image that can be read (",
         code < 0 ? error_text(code) : text_of("the content looks like ", kind->long_name), ")");
  }
  context->pb = io;
  context->max_streams = static_cast<int>(std::min<int64_t>(limits_.max_streams, 1000));
  Options options;
  options.set("protocol_whitelist", "file");
  code =
      avformat_open_input(&context, "", kind, &options.entries);  // frees the context on failure, not the io
  if (code < 0) avio_closep(&io);
  require(code >= 0, path_.string(), ": the header cannot be read: ", reason_text(code, log),
          " (is the file cut off?)");
  format_.reset(context);
}

void PacketSource::find_streams() {
  // find_stream_info decodes a few frames on its own: the same limits hold there.
  const LogCapture log;
  const unsigned count = format_->nb_streams;
  std::vector<Options> options(count);
  std::vector<AVDictionary*> entries(count);
  for (unsigned i = 0; i < count; ++i) {
    options[i].set("max_pixels", decoder_max_pixels(limits_));
    options[i].set("threads", 1);
    entries[i] = options[i].entries;
  }
  const int code = avformat_find_stream_info(format_.get(), entries.data());
  for (unsigned i = 0; i < count; ++i) options[i].entries = entries[i];  // it may have replaced them
  require(code >= 0, path_.string(), ": the streams cannot be read: ", reason_text(code, log));
}

void PacketSource::choose_stream() {
  AVStream* fallback = nullptr;
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    AVStream* stream = format_->streams[i];
    const bool is_film = stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
                         (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
    if (!is_film) continue;
    if (fallback == nullptr) fallback = stream;
    if (stream_ == nullptr && (stream->disposition & AV_DISPOSITION_DEFAULT) != 0) stream_ = stream;
  }
  if (stream_ == nullptr) stream_ = fallback;
  require(stream_ != nullptr, path_.string(), ": no video stream");
  for (unsigned i = 0; i < format_->nb_streams; ++i)
    if (format_->streams[i] != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  const int64_t width = stream_->codecpar->width, height = stream_->codecpar->height;
  require(width * height <= limits_.max_pixels, path_.string(), ": frames of ", width, "x", height,
          " pixels are above the limit of ", limits_.max_pixels, " pixels");
}

bool PacketSource::is_image() const {
  return contains(kImages, format_->iformat->name);
}
bool PacketSource::is_mp4() const {
  return format_->iformat->name == kMp4;
}
bool PacketSource::has_reliable_times() const {
  return is_mp4() || format_->iformat->name == kMatroska;
}

bool PacketSource::read(AVPacket& packet) {
  const bool partial_packets_are_marked = format_->iformat->name != std::string_view("mpegts");
  for (;;) {
    av_packet_unref(&packet);
    const int code = av_read_frame(format_.get(), &packet);
    if (code < 0) {
      ended_early_ |= code != AVERROR_EOF;
      return false;
    }
    if (packet.stream_index != stream_->index) continue;
    if ((packet.flags & AV_PKT_FLAG_CORRUPT) != 0 && partial_packets_are_marked) {
      ended_early_ = true;  // the file ends inside this packet
      continue;
    }
    return true;
  }
}

bool PacketSource::seek(int64_t timestamp) {
  return av_seek_frame(format_.get(), stream_->index, timestamp, AVSEEK_FLAG_BACKWARD) >= 0;
}

}  // namespace orrery::ffmpeg
