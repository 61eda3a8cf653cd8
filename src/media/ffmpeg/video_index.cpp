#include "media/ffmpeg/video_index.h"

#include <cstring>

#include "base/error.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace orrery {
namespace {

using ffmpeg::FrameSource;
using ffmpeg::KeyPacket;

// Codecs that show exactly one frame for each packet of a sound file (VP8 and VP9: unless the packet says it
// is hidden). MPEG-4 part 2 and others may hold empty or packed pictures and are decoded instead.
bool shows_frame_per_packet(AVCodecID codec) {
  switch (codec) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_MJPEG:
    case AV_CODEC_ID_PNG:
    case AV_CODEC_ID_FFV1:
    case AV_CODEC_ID_PRORES:
    case AV_CODEC_ID_DNXHD:
      return true;
    default:
      return false;
  }
}

// VP8: RFC 6386, 9.1, bit 4 of the first byte. VP9 bitstream, 6.2 and annex B: a superframe shows its last
// frame; else the header says so, after marker (2 bits), profile (2, with a reserved bit for profile 3).
bool is_hidden(AVCodecID codec, const AVPacket& packet) {
  if (packet.size == 0) return true;
  const unsigned first = packet.data[0];
  if (codec == AV_CODEC_ID_VP8) return (first >> 4 & 1) == 0;
  if (codec != AV_CODEC_ID_VP9) return false;
  const bool superframe = (packet.data[packet.size - 1] & 0xe0) == 0xc0;
  if (superframe) return false;
  const unsigned bits = first << 8 | (packet.size > 1 ? packet.data[1] : 0u);
  const bool profile3 = (bits >> 12 & 3) == 3;  // both profile bits
  const int at = profile3 ? 10 : 11;            // position of show_existing_frame
  const bool shows_existing = (bits >> at & 1) != 0, show_frame = (bits >> (at - 2) & 1) != 0;
  return !shows_existing && !show_frame;
}

struct PacketScan {
  std::vector<int64_t> pts;  // of shown frames, in decoding order
  std::vector<KeyPacket> keys;
  bool sound = true;  // nothing seen that makes the count unsure
};

PacketScan scan_packets(ffmpeg::PacketSource& packets, int64_t max_frames, const std::string& name) {
  PacketScan found;
  const AVCodecID codec = packets.stream().codecpar->codec_id;
  const auto packet = ffmpeg::make_packet();
  bool first = true;
  for (int64_t count = 0; packets.read(*packet); ++count) {
    require(count < max_frames, name, ": more than ", max_frames, " packets, the limit");
    const bool is_key = (packet->flags & AV_PKT_FLAG_KEY) != 0;
    found.sound &= packet->pts != AV_NOPTS_VALUE && packet->size > 0 && (is_key || !first);
    found.sound &= av_packet_get_side_data(packet.get(), AV_PKT_DATA_NEW_EXTRADATA, nullptr) == nullptr;
    if (is_key) found.keys.push_back({.frame = 0, .pts = packet->pts, .dts = packet->dts});
    const bool discarded = (packet->flags & AV_PKT_FLAG_DISCARD) != 0;
    if (!discarded && !is_hidden(codec, *packet)) found.pts.push_back(packet->pts);
    first = false;
  }
  found.sound &= !packets.ended_early();
  return found;
}

// True if the packets tell the frames for sure; then the index is complete but for size and codec.
bool index_from_packets(PacketScan found, VideoIndex& index) {
  if (!found.sound || found.pts.empty() || found.keys.empty()) return false;
  std::sort(found.pts.begin(), found.pts.end());
  if (std::adjacent_find(found.pts.begin(), found.pts.end()) != found.pts.end()) return false;
  if (found.pts.front() < found.keys.front().pts) return false;  // leading frames that cannot be decoded
  for (KeyPacket& key : found.keys)
    key.frame = std::lower_bound(found.pts.begin(), found.pts.end(), key.pts) - found.pts.begin();
  std::stable_sort(found.keys.begin(), found.keys.end(), [](auto& a, auto& b) { return a.frame < b.frame; });
  index.from_packets = index.pts_increase = true;
  index.frames = static_cast<int64_t>(found.pts.size());
  index.pts = std::move(found.pts);
  index.keys = std::move(found.keys);
  return true;
}

void index_by_decoding(FrameSource& source, const DecodeLimits& limits, const std::string& name,
                       VideoIndex& index) {
  const bool one_picture = source.packets().is_image();
  bool timed = true;
  int64_t pixels = 0, concealed = 0;
  while (const AVFrame* frame = source.next()) {
    require(index.frames < limits.max_frames, name, ": more than ", limits.max_frames, " frames, the limit");
    pixels += int64_t{frame->width} * frame->height;
    require(pixels <= limits.max_scan_pixels, name, ": numbering its frames needs decoding more than ",
            limits.max_scan_pixels, " pixels, the limit (remux it into MP4 or Matroska)");
    const int64_t pts = frame->best_effort_timestamp;
    timed &= pts != AV_NOPTS_VALUE;
    if (frame->key_frame != 0)
      index.keys.push_back({.frame = index.frames, .pts = frame->pts, .dts = frame->pkt_dts});
    index.pts.push_back(pts);
    index.checksums.push_back(frame_checksum(*frame));
    concealed += frame->decode_error_flags != 0;
    ++index.frames;
    if (one_picture) break;
  }
  if (!timed) index.pts.clear();
  index.pts_increase =
      timed && std::adjacent_find(index.pts.begin(), index.pts.end(),
                                  [](int64_t a, int64_t b) { return a >= b; }) == index.pts.end();
  if (concealed > 0)
    index.remarks.push_back(text_of(concealed, " frames have damage that the decoder concealed"));
}

// Nominal rate: FFmpeg's guess of the finest grid (r_frame_rate), else the average, else one from the time
// stamps.
Rational frame_rate(const AVStream& stream, const VideoIndex& index) {
  for (const AVRational rate : {stream.r_frame_rate, stream.avg_frame_rate})
    if (rate.num > 0 && rate.den > 0) return {rate.num, rate.den};
  if (index.pts_increase && index.frames > 1) {
    const int64_t span = index.pts.back() - index.pts.front();
    AVRational rate;
    av_reduce(&rate.num, &rate.den, (index.frames - 1) * stream.time_base.den, span * stream.time_base.num,
              1 << 30);
    if (rate.num > 0 && rate.den > 0) return {rate.num, rate.den};
  }
  return {25, 1};
}

}  // namespace

uint64_t frame_checksum(const AVFrame& frame) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* layout = av_pix_fmt_desc_get(format);
  uint64_t sum = 1469598103934665603ull;  // FNV-1a over 8-byte words
  for (int plane = 0; plane < av_pix_fmt_count_planes(format); ++plane) {
    const int row_bytes = av_image_get_linesize(format, frame.width, plane);
    const bool chroma = plane == 1 || plane == 2;
    const int rows = chroma ? AV_CEIL_RSHIFT(frame.height, layout->log2_chroma_h) : frame.height;
    for (int row = 0; row < rows && (layout->flags & AV_PIX_FMT_FLAG_PAL) * plane == 0; ++row) {
      const uint8_t* at = frame.data[plane] + int64_t{row} * frame.linesize[plane];
      int left = row_bytes;
      for (uint64_t word = 0; left > 0; left -= 8, at += 8) {
        word = 0;
        std::memcpy(&word, at, std::min(left, 8));
        sum = (sum ^ word) * 1099511628211ull;
      }
    }
  }
  return sum;
}

std::optional<int64_t> VideoIndex::frame_with(int64_t time_stamp) const {
  const auto at = std::lower_bound(pts.begin(), pts.end(), time_stamp);
  if (at == pts.end() || *at != time_stamp) return std::nullopt;
  return at - pts.begin();
}

const KeyPacket* VideoIndex::key_before(int64_t frame) const {
  auto after = std::upper_bound(keys.begin(), keys.end(), frame,
                                [](int64_t number, const KeyPacket& key) { return number < key.frame; });
  return after == keys.begin() ? nullptr : &*(after - 1);
}

VideoIndex scan(FrameSource& source, const std::filesystem::path& path, const DecodeLimits& limits) {
  VideoIndex index;
  const std::string name = path.string();
  ffmpeg::PacketSource& packets = source.packets();
  const AVCodecID codec = packets.stream().codecpar->codec_id;
  index.codec = avcodec_get_name(codec);
  index.file_bytes = std::filesystem::file_size(path);

  bool known = false;
  if (packets.has_reliable_times() && shows_frame_per_packet(codec)) {
    known = index_from_packets(scan_packets(packets, limits.max_frames, name), index);
    if (!known) source.rewind();
  }
  if (!known) index_by_decoding(source, limits, name, index);
  require(
      index.frames > 0, name, ": no frame can be decoded",
      source.trouble().empty() ? " (the video stream has no data)" : text_of(" (", source.trouble(), ")"));

  const AVStream& stream = packets.stream();
  index.time_base = {stream.time_base.num, stream.time_base.den};
  index.fps = frame_rate(stream, index);
  const int64_t declared = stream.nb_frames;
  if (packets.ended_early())
    index.remarks.push_back(text_of("the data end early: ", index.frames, " frames",
                                    declared > index.frames ? text_of(" of ", declared) : std::string()));
  source.rewind();
  return index;
}

}  // namespace orrery
