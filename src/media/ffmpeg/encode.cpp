#include "media/encode.h"

#include <unistd.h>

#include <cassert>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "media/ffmpeg/av.h"

extern "C" {
#include <libavutil/cpu.h>
}

namespace orrery {
namespace {

using ffmpeg::Owned;

// A file that appears under its name only when it is complete.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path)
      : path_(path), temporary_(path.string() + ".tmp" + std::to_string(getpid())) {}
  ~NewFile() {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }
  const std::filesystem::path& temporary() const { return temporary_; }
  void commit() {
    std::error_code code;
    std::filesystem::rename(temporary_, path_, code);
    if (code) throw Error(text_of(path_.string(), ": cannot be written: ", code.message()), Exit::failure);
  }

 private:
  std::filesystem::path path_, temporary_;
};

void ensure(bool written, const std::filesystem::path& path, const std::string& what) {
  if (!written) throw Error(text_of(path.string(), ": cannot be written: ", what), Exit::failure);
}

Owned<AVFrame> make_picture(int height, int width, AVPixelFormat format) {
  Owned<AVFrame> picture = ffmpeg::make_frame();
  picture->height = height;
  picture->width = width;
  picture->format = format;
  if (av_frame_get_buffer(picture.get(), 0) < 0) throw std::bad_alloc();
  return picture;
}

// RGB of [h,w,3] pixels into the picture, which may be one row or column larger (the last one is repeated).
class FromRgb {
 public:
  FromRgb(int height, int width, AVPixelFormat format, bool bt709, bool full_range)
      : rgb_(make_picture(height, width, AV_PIX_FMT_RGB24)) {
    const int flags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
    sws_.reset(sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, format, flags, nullptr, nullptr,
                              nullptr));
    if (!sws_) throw std::bad_alloc();
    const int* to = sws_getCoefficients(bt709 ? SWS_CS_ITU709 : SWS_CS_ITU601);
    sws_setColorspaceDetails(sws_.get(), sws_getCoefficients(SWS_CS_DEFAULT), 1, to, full_range, 0, 1 << 16,
                             1 << 16);
  }
  void convert(const at::Tensor& pixels, AVFrame& target) {
    const int64_t height = pixels.size(0), width = pixels.size(1);
    const auto* source = pixels.const_data_ptr<uint8_t>();
    for (int row = 0; row < rgb_->height; ++row) {
      const uint8_t* from = source + std::min<int64_t>(row, height - 1) * width * 3;
      uint8_t* to = rgb_->data[0] + int64_t{row} * rgb_->linesize[0];
      std::memcpy(to, from, width * 3);
      if (rgb_->width > width) std::memcpy(to + width * 3, from + (width - 1) * 3, 3);
    }
    sws_scale(sws_.get(), rgb_->data, rgb_->linesize, 0, rgb_->height, target.data, target.linesize);
  }

 private:
  Owned<AVFrame> rgb_;
  Owned<SwsContext> sws_;
};

void require_rgb(const at::Tensor& pixels, int64_t dims, const std::filesystem::path& path) {
  require(
      pixels.dim() == dims && pixels.size(-1) == 3 && pixels.scalar_type() == at::kByte && pixels.is_cpu(),
      path.string(), ": pixels to write are ", pixels.scalar_type(), " ", pixels.sizes(), ", wanted uint8 ",
      dims == 4 ? "[F,H,W,3]" : "[H,W,3]", " on the CPU");
  require(pixels.numel() > 0 && pixels.size(-2) <= 16384 && pixels.size(-3) <= 16384, path.string(),
          ": size ", pixels.sizes(), ", wanted 1 to 16384 pixels each way and at least one frame");
}

// H.264 encoder and MP4 muxer of one film.
class Mp4Writer {
 public:
  Mp4Writer(const std::filesystem::path& target, const std::filesystem::path& file, int height, int width,
            const Mp4Options& options);
  ~Mp4Writer();
  Mp4Writer(const Mp4Writer&) = delete;
  Mp4Writer& operator=(const Mp4Writer&) = delete;
  void write(AVFrame* picture);  // null: no more
  void finish();
  int height() const { return encoder_->height; }
  int width() const { return encoder_->width; }

 private:
  void check(int code, const ffmpeg::LogCapture& log) const {
    ensure(code >= 0, target_, ffmpeg::reason_text(code, log));
  }
  void open_encoder(int height, int width, const Mp4Options& options);

  std::filesystem::path target_;
  AVFormatContext* format_ = nullptr;
  Owned<AVCodecContext> encoder_;
  Owned<AVPacket> packet_ = ffmpeg::make_packet();
};

void Mp4Writer::open_encoder(int height, int width, const Mp4Options& options) {
  const ffmpeg::LogCapture log;
  const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
  ensure(codec != nullptr, target_, "this FFmpeg has no libx264");
  encoder_.reset(avcodec_alloc_context3(codec));
  if (!encoder_) throw std::bad_alloc();
  AVCodecContext& e = *encoder_;
  e.height = height + height % 2;
  e.width = width + width % 2;
  e.pix_fmt = AV_PIX_FMT_YUV420P;
  e.time_base = {static_cast<int>(options.fps.den), static_cast<int>(options.fps.num)};
  e.framerate = {static_cast<int>(options.fps.num), static_cast<int>(options.fps.den)};
  e.colorspace = options.bt709 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
  e.color_primaries = options.bt709 ? AVCOL_PRI_BT709 : AVCOL_PRI_SMPTE170M;
  e.color_trc = options.bt709 ? AVCOL_TRC_BT709 : AVCOL_TRC_SMPTE170M;
  e.color_range = AVCOL_RANGE_MPEG;
  e.thread_count = 1;  // x264's bits depend on the number of threads
  e.flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
  check(av_opt_set(e.priv_data, "preset", options.preset.c_str(), 0), log);
  check(av_opt_set_double(e.priv_data, "crf", options.crf, 0), log);
  // x264 r3095's AVX-512 code reads memory that it has not written: the same film gave other bytes in one run
  // out of three (seen with presets fast to slow on 64x64 films; never with the same code held to AVX2).
  if ((av_get_cpu_flags() & AV_CPU_FLAG_AVX512) != 0)
    check(av_opt_set(e.priv_data, "x264-params", "asm=AVX2", 0), log);
  check(avcodec_open2(&e, codec, nullptr), log);
}

Mp4Writer::Mp4Writer(const std::filesystem::path& target, const std::filesystem::path& file, int height,
                     int width, const Mp4Options& options)
    : target_(target) {
  open_encoder(height, width, options);
  const ffmpeg::LogCapture log;
  const std::string url = "file:" + file.string();
  check(avformat_alloc_output_context2(&format_, nullptr, "mp4", url.c_str()), log);
  format_->flags |= AVFMT_FLAG_BITEXACT;  // no version strings, no date
  AVStream* stream = avformat_new_stream(format_, nullptr);
  if (stream == nullptr) throw std::bad_alloc();
  stream->time_base = encoder_->time_base;
  stream->avg_frame_rate = encoder_->framerate;
  check(avcodec_parameters_from_context(stream->codecpar, encoder_.get()), log);
  check(avio_open(&format_->pb, url.c_str(), AVIO_FLAG_WRITE), log);
  AVDictionary* movflags = nullptr;
  av_dict_set(&movflags, "movflags", "+faststart", 0);
  const int code = avformat_write_header(format_, &movflags);
  av_dict_free(&movflags);
  check(code, log);
}

Mp4Writer::~Mp4Writer() {
  if (format_ != nullptr) avio_closep(&format_->pb);
  avformat_free_context(format_);
}

void Mp4Writer::write(AVFrame* picture) {
  const ffmpeg::LogCapture log;
  check(avcodec_send_frame(encoder_.get(), picture), log);
  for (;;) {
    const int code = avcodec_receive_packet(encoder_.get(), packet_.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    check(code, log);
    packet_->stream_index = 0;
    if (packet_->duration == 0) packet_->duration = 1;
    av_packet_rescale_ts(packet_.get(), encoder_->time_base, format_->streams[0]->time_base);
    check(av_interleaved_write_frame(format_, packet_.get()), log);
  }
}

void Mp4Writer::finish() {
  write(nullptr);
  const ffmpeg::LogCapture log;
  check(av_write_trailer(format_), log);
  check(avio_closep(&format_->pb), log);
}

// x264 itself complains about an unknown name on the terminal.
bool is_preset(const std::string& name) {
  for (const char* known : {"ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow",
                            "slower", "veryslow", "placebo"})
    if (name == known) return true;
  return false;
}

// One picture through an image encoder, its bytes to a file.
void write_image(const std::filesystem::path& path, Owned<AVCodecContext> encoder, AVFrame& picture) {
  const ffmpeg::LogCapture log;
  const auto packet = ffmpeg::make_packet();
  int code = avcodec_open2(encoder.get(), encoder->codec, nullptr);
  if (code >= 0) code = avcodec_send_frame(encoder.get(), &picture);
  if (code >= 0) code = avcodec_receive_packet(encoder.get(), packet.get());
  ensure(code >= 0, path, ffmpeg::reason_text(code, log));
  NewFile file(path);
  std::ofstream out(file.temporary(), std::ios::binary);
  out.write(reinterpret_cast<const char*>(packet->data), packet->size);
  out.close();
  ensure(out.good(), path, std::strerror(errno));
  file.commit();
}

Owned<AVCodecContext> image_encoder(AVCodecID id, const at::Tensor& image, AVPixelFormat format) {
  const AVCodec* codec = avcodec_find_encoder(id);
  assert(codec != nullptr);
  Owned<AVCodecContext> encoder(avcodec_alloc_context3(codec));
  if (!encoder) throw std::bad_alloc();
  encoder->height = static_cast<int>(image.size(0));
  encoder->width = static_cast<int>(image.size(1));
  encoder->pix_fmt = format;
  encoder->time_base = {1, 1};
  encoder->thread_count = 1;
  encoder->flags |= AV_CODEC_FLAG_BITEXACT;
  return encoder;
}

// The quantisation table of ITU-T T.81 annex K (luma or chroma, row by row) at a quality of the IJG library.
uint16_t* quantisation_table(bool luma, int quality) {
  static constexpr uint8_t kLuma[64] = {
      16, 11,  10,  16, 24, 40, 51, 61, 12,  12,  14,  19,  26, 58, 60, 55,  14,  13,  16,  24, 40, 57,
      69, 56,  14,  17, 22, 29, 51, 87, 80,  62,  18,  22,  37, 56, 68, 109, 103, 77,  24,  35, 55, 64,
      81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,  112, 100, 103, 99};
  static constexpr uint8_t kChroma[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
                                          24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
                                          99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                                          99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};
  const int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  auto* table = static_cast<uint16_t*>(av_malloc(64 * sizeof(uint16_t)));
  if (table == nullptr) throw std::bad_alloc();
  for (int i = 0; i < 64; ++i)
    table[i] = static_cast<uint16_t>(std::clamp(((luma ? kLuma : kChroma)[i] * percent + 50) / 100, 1, 255));
  return table;
}

}  // namespace

void write_mp4(const std::filesystem::path& path, const at::Tensor& frames, const Mp4Options& options) {
  ffmpeg::initialise();
  require_rgb(frames, 4, path);
  const int64_t limit = 1 << 30;
  require(options.fps.num > 0 && options.fps.den > 0 && options.fps.num <= limit && options.fps.den <= limit,
          path.string(), ": frame rate ", options.fps.num, "/", options.fps.den);
  require(options.crf >= 0 && options.crf <= 51, path.string(), ": crf ", options.crf, ", wanted 0 to 51");
  require(is_preset(options.preset), path.string(), ": unknown x264 preset ", options.preset);
  NewFile file(path);
  const at::Tensor pixels = frames.contiguous();
  {
    Mp4Writer writer(path, file.temporary(), static_cast<int>(pixels.size(1)),
                     static_cast<int>(pixels.size(2)), options);
    FromRgb convert(writer.height(), writer.width(), AV_PIX_FMT_YUV420P, options.bt709, false);
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      const auto picture = make_picture(writer.height(), writer.width(), AV_PIX_FMT_YUV420P);
      convert.convert(pixels[i], *picture);
      picture->pts = i;
      writer.write(picture.get());
    }
    writer.finish();
  }
  file.commit();
}

void write_png(const std::filesystem::path& path, const at::Tensor& image) {
  ffmpeg::initialise();
  require_rgb(image, 3, path);
  const at::Tensor pixels = image.contiguous();
  auto encoder = image_encoder(AV_CODEC_ID_PNG, pixels, AV_PIX_FMT_RGB24);
  const auto picture = make_picture(encoder->height, encoder->width, AV_PIX_FMT_RGB24);
  const int64_t row_bytes = pixels.size(1) * 3;
  for (int row = 0; row < encoder->height; ++row)
    std::memcpy(picture->data[0] + int64_t{row} * picture->linesize[0],
                pixels.const_data_ptr<uint8_t>() + row * row_bytes, row_bytes);
  write_image(path, std::move(encoder), *picture);
}

void write_jpeg(const std::filesystem::path& path, const at::Tensor& image, int quality) {
  ffmpeg::initialise();
  require_rgb(image, 3, path);
  require(quality >= 1 && quality <= 100, path.string(), ": JPEG quality ", quality, ", wanted 1 to 100");
  const at::Tensor pixels = image.contiguous();
  auto encoder = image_encoder(AV_CODEC_ID_MJPEG, pixels, AV_PIX_FMT_YUVJ420P);
  encoder->color_range = AVCOL_RANGE_JPEG;
  encoder->intra_matrix = quantisation_table(true, quality);  // freed with the encoder, unlike the next one
  encoder->chroma_intra_matrix = quantisation_table(false, quality);
  const std::unique_ptr<uint16_t*, decltype(&av_freep)> chroma(&encoder->chroma_intra_matrix, av_freep);
  encoder->flags |= AV_CODEC_FLAG_QSCALE;
  encoder->global_quality = 8 * FF_QP2LAMBDA;  // FFmpeg multiplies the tables by this quantiser / 8
  const auto picture = make_picture(encoder->height, encoder->width, AV_PIX_FMT_YUVJ420P);
  picture->quality = encoder->global_quality;
  picture->color_range = AVCOL_RANGE_JPEG;
  FromRgb(encoder->height, encoder->width, AV_PIX_FMT_YUV420P, false, true).convert(pixels, *picture);
  write_image(path, std::move(encoder), *picture);
}

}  // namespace orrery
