#pragma once
// What the installed FFmpeg can do. Called by `orrery doctor`.
#include <string>

namespace orrery {

std::string ffmpeg_version();  // "5.1.9 (libavcodec 59.37.100)"; empty: built without FFmpeg
bool has_video_decoder(const std::string& codec);  // "h264", "av1": whether any decoder of the codec is there
bool has_video_encoder(const std::string& name);   // "libx264": this very encoder

}  // namespace orrery
