#pragma once
// The frame numbers of a film. Internal to src/media; decode.h passes it around as an opaque handle.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "media/ffmpeg/frame_source.h"

namespace orrery {

// Built in one of two ways. From packets: containers with a time stamp for every frame and codecs that show
// one frame for each packet; a frame is known by its time stamp. By decoding: everything else; a frame is
// known by its count, and its checksum tells whether decoding from a later key frame gave the same picture.
struct VideoIndex {
  int64_t frames = 0, height = 0, width = 0;
  Rational fps, time_base;
  std::string codec;
  std::vector<std::string> remarks;
  uintmax_t file_bytes = 0;

  bool from_packets = false;
  std::vector<int64_t> pts;   // of frame i, in time_base units; empty: the film has no usable time stamps
  bool pts_increase = false;  // strictly, so that a time stamp names a frame
  std::vector<ffmpeg::KeyPacket> keys;  // by ascending frame
  std::vector<uint64_t> checksums;      // of frame i, only if built by decoding

  // The frame with this time stamp; nothing if none has it. Needs pts_increase.
  std::optional<int64_t> frame_with(int64_t time_stamp) const;
  // Where to begin decoding for this frame: the last key at or before it; null: at the beginning.
  const ffmpeg::KeyPacket* key_before(int64_t frame) const;
};

// Needs a source at its beginning and leaves it there. Height and width stay 0.
VideoIndex scan(ffmpeg::FrameSource& source, const std::filesystem::path& path, const DecodeLimits& limits);

// Over the visible pixels of all planes.
uint64_t frame_checksum(const AVFrame& frame);

}  // namespace orrery
