#pragma once
// Owning handles and error texts for FFmpeg. Internal to src/media: no public header includes this one.
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace orrery::ffmpeg {

struct Close {
  void operator()(AVCodecContext* c) const { avcodec_free_context(&c); }
  void operator()(AVFrame* f) const { av_frame_free(&f); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* s) const { sws_freeContext(s); }
};
template <class T>
using Owned = std::unique_ptr<T, Close>;

Owned<AVFrame> make_frame();
Owned<AVPacket> make_packet();

// Once per process: routes FFmpeg's log into LogCapture instead of the terminal and bounds a single
// allocation (a sample table or a frame that a hostile header asks for) at 256 MiB. Every entry point of
// src/media calls it.
void initialise();

// Collects what FFmpeg says at error level on this thread while it lives; the reason of a failure is often
// only there.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;
  const std::string& last() const { return last_; }  // the last message without line end; empty: none
  void record(const char* message) { last_ = message; }

 private:
  LogCapture* outer_;
  std::string last_;
};

std::string error_text(int code);  // FFmpeg's text of a negative return code
// "Invalid data found when processing input (moov atom not found)"
std::string reason_text(int code, const LogCapture& log);

}  // namespace orrery::ffmpeg
