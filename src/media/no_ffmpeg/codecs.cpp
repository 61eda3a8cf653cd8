#include "media/codecs.h"

namespace orrery {

std::string ffmpeg_version() {
  return {};
}
bool has_video_decoder(const std::string&) {
  return false;
}
bool has_video_encoder(const std::string&) {
  return false;
}

}  // namespace orrery
