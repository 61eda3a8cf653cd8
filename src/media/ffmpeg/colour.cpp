#include "media/ffmpeg/colour.h"

#include <cstring>
#include <new>

#include "base/error.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace orrery::ffmpeg {
namespace {

// The deprecated "full range" pixel formats say with their name what color_range says for the others.
AVPixelFormat without_range(AVPixelFormat format, bool& full_range) {
  const auto plain = [&](AVPixelFormat same) {
    full_range = true;
    return same;
  };
  switch (format) {
    case AV_PIX_FMT_YUVJ411P:
      return plain(AV_PIX_FMT_YUV411P);
    case AV_PIX_FMT_YUVJ420P:
      return plain(AV_PIX_FMT_YUV420P);
    case AV_PIX_FMT_YUVJ422P:
      return plain(AV_PIX_FMT_YUV422P);
    case AV_PIX_FMT_YUVJ440P:
      return plain(AV_PIX_FMT_YUV440P);
    case AV_PIX_FMT_YUVJ444P:
      return plain(AV_PIX_FMT_YUV444P);
    default:
      return format;
  }
}

// The matrix for sws_getCoefficients.
int matrix_of(const AVFrame& frame, bool is_rgb, const std::string& name) {
  if (is_rgb) return SWS_CS_DEFAULT;
  switch (frame.colorspace) {
    case AVCOL_SPC_BT709:
      return SWS_CS_ITU709;
    case AVCOL_SPC_FCC:
      return SWS_CS_FCC;
    case AVCOL_SPC_SMPTE240M:
      return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
      return SWS_CS_BT2020;
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_RESERVED:
    case AVCOL_SPC_RGB:  // tagged so, but stored as YUV: the tag is wrong
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
      return SWS_CS_ITU601;
    default:
      break;
  }
  fail(name, ": colour matrix ", av_color_space_name(frame.colorspace), " is not supported");
}

bool is_full_range(const AVFrame& frame, bool is_grey) {
  if (frame.color_range == AVCOL_RANGE_UNSPECIFIED) return is_grey;
  return frame.color_range == AVCOL_RANGE_JPEG;
}

// swscale's vector code wants aligned rows; a picture cropped from the left has none. Null: aligned already.
Owned<AVFrame> aligned_copy(const AVFrame& frame) {
  bool aligned = true;
  for (int plane = 0; plane < 4; ++plane)
    aligned &= reinterpret_cast<uintptr_t>(frame.data[plane]) % 32 == 0 && frame.linesize[plane] % 32 == 0;
  if (aligned || frame.data[1] == nullptr) return nullptr;
  Owned<AVFrame> copy = make_frame();
  copy->width = frame.width;
  copy->height = frame.height;
  copy->format = frame.format;
  if (av_frame_get_buffer(copy.get(), 0) < 0 || av_frame_copy(copy.get(), &frame) < 0) throw std::bad_alloc();
  return copy;
}

}  // namespace

void RgbConverter::prepare(const Layout& layout, const std::string& name) {
  const auto format = static_cast<AVPixelFormat>(layout.format);
  sws_.reset(sws_getContext(layout.width, layout.height, format, layout.out_width, layout.out_height,
                            AV_PIX_FMT_RGB24, SWS_BILINEAR, nullptr, nullptr, nullptr));
  require(sws_ != nullptr, name, ": pixel format ", av_get_pix_fmt_name(format),
          " cannot be converted to RGB");
  const int* from = sws_getCoefficients(layout.matrix);
  sws_setColorspaceDetails(sws_.get(), from, layout.full_range, sws_getCoefficients(SWS_CS_DEFAULT), 1, 0,
                           1 << 16, 1 << 16);
  row_bytes_ = FFALIGN(layout.out_width * 3, 64);  // vector code writes past the end of a row
  row_buffer_.reset(static_cast<uint8_t*>(av_malloc(size_t(row_bytes_) * layout.out_height + 64)));
  if (!row_buffer_) throw std::bad_alloc();
  layout_ = layout;
}

void RgbConverter::convert(const AVFrame& frame, int height, int width, uint8_t* rgb,
                           const std::string& name) {
  Layout layout{.width = frame.width, .height = frame.height, .out_width = width, .out_height = height};
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  require(description != nullptr, name, ": unknown pixel format");
  const bool is_rgb = (description->flags & AV_PIX_FMT_FLAG_RGB) != 0;
  layout.full_range = is_full_range(frame, description->nb_components < 3);
  layout.format = without_range(static_cast<AVPixelFormat>(frame.format), layout.full_range);
  layout.matrix = matrix_of(frame, is_rgb, name);
  if (layout != layout_) prepare(layout, name);

  const Owned<AVFrame> copy = aligned_copy(frame);
  const AVFrame& from = copy ? *copy : frame;
  uint8_t* planes[4] = {row_buffer_.get()};
  const int strides[4] = {row_bytes_};
  const int rows = sws_scale(sws_.get(), from.data, from.linesize, 0, from.height, planes, strides);
  require(rows == height, name, ": conversion to RGB failed");
  for (int row = 0; row < height; ++row)
    std::memcpy(rgb + int64_t{row} * width * 3, row_buffer_.get() + int64_t{row} * row_bytes_,
                size_t(width) * 3);
}

}  // namespace orrery::ffmpeg
