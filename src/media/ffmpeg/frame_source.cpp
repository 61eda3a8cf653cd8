#include "media/ffmpeg/frame_source.h"

#include <cassert>

#include "base/error.h"

namespace orrery::ffmpeg {

FrameSource::FrameSource(const std::filesystem::path& path, const DecodeLimits& limits)
    : path_(path), limits_(limits), packets_(path, limits), packet_(make_packet()), frame_(make_frame()) {
  open_decoder();
}

void FrameSource::open_decoder() {
  const LogCapture log;
  const AVCodecParameters* parameters = packets_.stream().codecpar;
  require(parameters->codec_id != AV_CODEC_ID_NONE, path_.string(),
          ": its header names no known codec (is the file cut off?)");
  const AVCodec* codec = avcodec_find_decoder(parameters->codec_id);
  require(codec != nullptr, path_.string(), ": no decoder for its codec ",
          avcodec_get_name(parameters->codec_id));
  decoder_.reset(avcodec_alloc_context3(codec));
  require(decoder_ != nullptr && avcodec_parameters_to_context(decoder_.get(), parameters) >= 0,
          path_.string(), ": the decoder ", codec->name, " does not take the stream's parameters");
  decoder_->max_pixels = decoder_max_pixels(limits_);
  decoder_->thread_count = 1;
  decoder_->pkt_timebase = packets_.stream().time_base;
  decoder_->flags &= ~AV_CODEC_FLAG_OUTPUT_CORRUPT;  // frames before the recovery point are not shown
  decoder_->flags |= AV_CODEC_FLAG_UNALIGNED;        // crop to the exact size, not to an aligned address
  const int code = avcodec_open2(decoder_.get(), codec, nullptr);
  require(code >= 0, path_.string(), ": the decoder ", codec->name,
          " cannot start: ", reason_text(code, log));
}

const AVFrame* FrameSource::next() {
  for (;;) {
    const LogCapture log;
    const int code = avcodec_receive_frame(decoder_.get(), frame_.get());
    if (code == AVERROR(EAGAIN)) {
      feed();
      continue;
    }
    if (code == AVERROR_EOF) return nullptr;
    require(code != AVERROR(ENOMEM), path_.string(), ": a frame needs more memory than allowed");
    if (code < 0) {
      trouble_ = reason_text(code, log);
      if (at_end_ && ++errors_at_end_ > 100)
        return nullptr;  // a decoder that fails for ever while it is drained
      continue;
    }
    check_size();
    if ((frame_->flags & (AV_FRAME_FLAG_DISCARD | AV_FRAME_FLAG_CORRUPT)) == 0) return frame_.get();
  }
}

void FrameSource::check_size() const {
  const int64_t width = frame_->width, height = frame_->height;
  require(width * height <= limits_.max_pixels, path_.string(), ": frames of ", width, "x", height,
          " pixels are above the limit of ", limits_.max_pixels, " pixels");
}

// Gives the decoder one packet, or the end. A packet it cannot use gives no frame and is remembered in
// trouble_.
void FrameSource::feed() {
  const LogCapture log;
  if (!pending_ && !packets_.read(*packet_)) {
    at_end_ = true;
    avcodec_send_packet(decoder_.get(), nullptr);
    return;
  }
  pending_ = false;
  const int code = avcodec_send_packet(decoder_.get(), packet_.get());
  assert(code != AVERROR(EAGAIN));  // next() has just emptied the decoder
  require(code != AVERROR(ENOMEM), path_.string(), ": a frame needs more memory than allowed");
  if (code < 0) trouble_ = reason_text(code, log);
}

bool FrameSource::skip_to(const KeyPacket& key) {
  while (packets_.read(*packet_)) {
    const bool is_key = (packet_->flags & AV_PKT_FLAG_KEY) != 0;
    if (is_key && packet_->pts == key.pts) {
      pending_ = true;
      return true;
    }
    const bool passed = is_key && packet_->pts != AV_NOPTS_VALUE && packet_->pts > key.pts;
    if (passed) return false;
  }
  return false;
}

bool FrameSource::seek(const KeyPacket& key) {
  avcodec_flush_buffers(decoder_.get());
  forget();
  const bool by_dts = packets_.is_mp4() && key.dts != AV_NOPTS_VALUE;  // its index holds decoding times
  if (packets_.seek(by_dts ? key.dts : key.pts) && skip_to(key)) return true;
  packets_.reopen();
  return skip_to(key);
}

void FrameSource::rewind() {
  packets_.reopen();
  open_decoder();
  forget();
}

void FrameSource::forget() {
  pending_ = at_end_ = false;
  errors_at_end_ = 0;
}

}  // namespace orrery::ffmpeg
