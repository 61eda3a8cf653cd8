#include "media/codecs.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/avutil.h>
}

#include "base/error.h"

namespace orrery {

std::string ffmpeg_version() {
  const unsigned v = avcodec_version();
  return text_of(av_version_info(), " (libavcodec ", AV_VERSION_MAJOR(v), ".", AV_VERSION_MINOR(v), ".",
                 AV_VERSION_MICRO(v), ")");
}

bool has_video_decoder(const std::string& codec) {
  const AVCodecDescriptor* description = avcodec_descriptor_get_by_name(codec.c_str());
  return description && avcodec_find_decoder(description->id);
}

bool has_video_encoder(const std::string& name) {
  return avcodec_find_encoder_by_name(name.c_str());
}

}  // namespace orrery
