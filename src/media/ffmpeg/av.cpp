#include "media/ffmpeg/av.h"

#include <mutex>
#include <new>

namespace orrery::ffmpeg {
namespace {

thread_local LogCapture* capture = nullptr;  // the innermost LogCapture of this thread

void on_log(void* context, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR || capture == nullptr) return;
  char line[512];
  int prefix = 0;  // no "[mov @ 0x...]": addresses would make the same error differ from run to run
  av_log_format_line2(nullptr, level, format, arguments, line, sizeof line, &prefix);
  std::string_view text(line);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '.'))
    text.remove_suffix(1);
  if (!text.empty()) capture->record(std::string(text).c_str());
}

}  // namespace

void initialise() {
  static std::once_flag once;
  std::call_once(once, [] {
    av_log_set_callback(on_log);
    av_max_alloc(size_t{256} << 20);
  });
}

LogCapture::LogCapture() : outer_(capture) {
  capture = this;
}
LogCapture::~LogCapture() {
  capture = outer_;
}

Owned<AVFrame> make_frame() {
  Owned<AVFrame> frame(av_frame_alloc());
  if (!frame) throw std::bad_alloc();
  return frame;
}

Owned<AVPacket> make_packet() {
  Owned<AVPacket> packet(av_packet_alloc());
  if (!packet) throw std::bad_alloc();
  return packet;
}

std::string error_text(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(code, text, sizeof text);
  return text;
}

std::string reason_text(int code, const LogCapture& log) {
  return log.last().empty() ? error_text(code) : error_text(code) + " (" + log.last() + ")";
}

}  // namespace orrery::ffmpeg
