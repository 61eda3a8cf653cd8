#pragma once
// Container and decoder of one video stream, as a sequence of packets or of decoded frames. Internal to
// src/media: video_index.cpp numbers the frames with it, decode.cpp reads them.
#include <climits>
#include <filesystem>
#include <string>

#include "media/decode.h"
#include "media/ffmpeg/av.h"

namespace orrery::ffmpeg {

// Demuxer: packets of the film's stream. Opens regular files alone, by content, with the containers of a
// fixed list; playlists and other formats that would open further files or addresses are refused.
class PacketSource {
 public:
  PacketSource(const std::filesystem::path& path, const DecodeLimits& limits);

  const AVStream& stream() const { return *stream_; }
  std::string format() const { return format_->iformat->name; }
  bool is_image() const;
  bool is_mp4() const;
  bool has_reliable_times() const;  // the container stores a time stamp for every frame

  bool read(AVPacket& packet);   // next packet of the stream, in decoding order; false at the end
  bool seek(int64_t timestamp);  // to a key frame at or before it, as far as the container's index is right
  void reopen();                 // back to the first packet, whatever the container

  bool ended_early() const { return ended_early_; }  // a packet was cut off, or reading ended with an error

 private:
  struct CloseFormat {
    void operator()(AVFormatContext* c) const;
  };
  void open();
  void find_streams();
  void choose_stream();

  std::filesystem::path path_;
  DecodeLimits limits_;
  std::unique_ptr<AVFormatContext, CloseFormat> format_;
  AVStream* stream_ = nullptr;
  bool ended_early_ = false;
};

// libavcodec holds a limit on pixels against sizes that it has rounded up to whole blocks and vector widths,
// so it gets a looser one; the exact limit is checked on what the headers declare and on every decoded
// picture.
inline int64_t decoder_max_pixels(const DecodeLimits& limits) {
  return std::min<int64_t>(std::min<int64_t>(limits.max_pixels, INT_MAX) * 2 + 65536, INT_MAX);
}

// A key packet: where decoding can begin.
struct KeyPacket {
  int64_t frame = 0;  // number of the first frame that is shown at or after it
  int64_t pts = AV_NOPTS_VALUE, dts = AV_NOPTS_VALUE;
};

// Decoder on top of PacketSource. One thread: the loader's workers are the parallelism, and results do not
// depend on a thread count.
class FrameSource {
 public:
  FrameSource(const std::filesystem::path& path, const DecodeLimits& limits);

  PacketSource& packets() { return packets_; }
  // The next frame in display order, owned by the source until the next call; null at the end.
  const AVFrame* next();
  bool seek(const KeyPacket& key);  // next() then begins with frames at or after the key; false: not found
  void rewind();                    // next() then begins with the first frame
  // What the decoder said about packets that gave no frame; empty: nothing.
  const std::string& trouble() const { return trouble_; }

 private:
  void open_decoder();
  void check_size() const;
  void feed();
  bool skip_to(const KeyPacket& key);
  void forget();

  std::filesystem::path path_;
  DecodeLimits limits_;
  PacketSource packets_;
  Owned<AVCodecContext> decoder_;
  Owned<AVPacket> packet_;
  Owned<AVFrame> frame_;
  bool pending_ = false;  // packet_ holds a packet that the decoder has not got yet
  bool at_end_ = false;   // the decoder was told that no packet follows
  int errors_at_end_ = 0;
  std::string trouble_;
};

}  // namespace orrery::ffmpeg
