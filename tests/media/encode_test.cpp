#include "media/encode.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"
#include "fixtures.h"

namespace orrery {
namespace {

// A smooth moving pattern with saturated colours: uint8 [F,H,W,3].
at::Tensor pattern(int64_t frames, int64_t height, int64_t width) {
  std::vector<at::Tensor> film;
  const at::Tensor y = at::arange(height).to(at::kFloat).view({height, 1}) / static_cast<double>(height);
  const at::Tensor x = at::arange(width).to(at::kFloat).view({1, width}) / static_cast<double>(width);
  for (int64_t f = 0; f < frames; ++f) {
    const double phase = 0.2 * static_cast<double>(f);
    const at::Tensor red = (3 * x + phase).sin(), green = (2 * y - phase).cos(), blue = (2 * (x + y)).sin();
    film.push_back(at::stack({red.expand({height, width}), green.expand({height, width}), blue}, -1));
  }
  return ((at::stack(film) + 1) * 127.5).to(at::kByte);
}

double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

TEST(WriteMp4, gives_back_the_frames) {
  const test::ScratchFolder folder;
  const at::Tensor film = pattern(13, 48, 64);
  write_mp4(folder / "film.mp4", film, {.fps = {30000, 1001}, .crf = 4});
  VideoFile read(folder / "film.mp4");
  EXPECT_EQ(read.frames(), 13);
  EXPECT_EQ(read.height(), 48);
  EXPECT_EQ(read.width(), 64);
  EXPECT_EQ(read.fps(), (Rational{30000, 1001}));
  EXPECT_NEAR(read.time_s(12), 12 * 1001 / 30000.0, 1e-3);
  EXPECT_EQ(read.codec(), "h264");
  EXPECT_LT(mean_difference(read.read(0, 13), film), 2.5);
}

TEST(WriteMp4, tags_say_how_to_read_the_colours) {
  const test::ScratchFolder folder;
  at::Tensor film = at::zeros({2, 32, 32, 3}, at::kByte);
  film.select(3, 0).fill_(200);
  film.select(3, 1).fill_(40);
  for (const bool bt709 : {true, false}) {
    write_mp4(folder / "film.mp4", film, {.crf = 1, .bt709 = bt709});
    EXPECT_LT(
        (VideoFile(folder / "film.mp4").read(0, 2).to(at::kInt) - film.to(at::kInt)).abs().max().item<int>(),
        4);
  }
}

TEST(WriteMp4, extends_odd_sizes_by_one_repeated_line) {
  const test::ScratchFolder folder;
  const at::Tensor film = pattern(3, 33, 47);
  write_mp4(folder / "film.mp4", film, {.crf = 4});
  VideoFile read(folder / "film.mp4");
  ASSERT_EQ(read.height(), 34);
  ASSERT_EQ(read.width(), 48);
  const at::Tensor frames = read.read(0, 3);
  EXPECT_LT(mean_difference(frames.narrow(1, 0, 33).narrow(2, 0, 47), film), 2.5);
  EXPECT_LT(mean_difference(frames.narrow(2, 47, 1), frames.narrow(2, 46, 1)), 3);
}

TEST(WriteMp4, the_same_pixels_give_the_same_bytes_with_the_header_in_front) {
  const test::ScratchFolder folder;
  const at::Tensor film = pattern(9, 64, 64);
  for (const char* preset : {"fast", "medium", "slow"}) {
    write_mp4(folder / "a.mp4", film, {.preset = preset});
    const std::string bytes = test::read_file(folder / "a.mp4");
    EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
    for (int repeat = 0; repeat < 8; ++repeat) {
      std::vector<std::string> stale(
          40, std::string(100000, static_cast<char>(repeat)));  // memory that is not zero
      stale.clear();
      write_mp4(folder / "b.mp4", film, {.preset = preset});
      EXPECT_TRUE(bytes == test::read_file(folder / "b.mp4")) << preset << ", repetition " << repeat;
    }
  }
}

TEST(WriteMp4, leaves_nothing_behind_when_it_fails) {
  const test::ScratchFolder folder;
  EXPECT_THROW(write_mp4(folder / "film.mp4", pattern(1, 16, 16), {.preset = "no such preset"}), Error);
  EXPECT_THROW(write_mp4(folder / "film.mp4", pattern(1, 16, 16).to(at::kFloat)), Error);
  EXPECT_THROW(write_mp4(folder / "film.mp4", pattern(1, 16, 16).narrow(0, 0, 0)), Error);
  EXPECT_THROW(write_mp4(folder / "film.mp4", pattern(1, 16, 16), {.fps = {0, 1}}), Error);
  EXPECT_THROW(write_mp4(folder / "no/such/folder/film.mp4", pattern(1, 16, 16)), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(WritePng, is_exact_for_every_size_and_stride) {
  const test::ScratchFolder folder;
  const at::Tensor noise = (Rng(1, "noise").uniform_tensor({21, 35, 3}) * 256).to(at::kByte);
  for (const at::Tensor& image : {noise, noise.narrow(0, 3, 1).narrow(1, 5, 1), noise.transpose(0, 1)}) {
    write_png(folder / "image.png", image);
    VideoFile read(folder / "image.png");
    ASSERT_EQ(read.frames(), 1);
    EXPECT_TRUE(at::equal(read.read(0, 1)[0], image.contiguous()));
  }
}

TEST(WriteJpeg, quality_means_the_tables_of_the_ijg_library) {
  const test::ScratchFolder folder;
  const at::Tensor image = pattern(1, 50, 70)[0];
  write_jpeg(folder / "image.jpg", image);
  EXPECT_LT(mean_difference(VideoFile(folder / "image.jpg").read(0, 1)[0], image), 3);
  // DQT segment: marker, length 67, table 0; annex K's first AC entries 11, 12, 14 at quality 85 (30 %) are
  // 3, 4, 4.
  const std::string bytes = test::read_file(folder / "image.jpg");
  const size_t table = bytes.find("\xff\xdb");
  ASSERT_NE(table, std::string::npos);
  EXPECT_EQ(bytes.substr(table + 6, 4), std::string("\x03\x04\x04\x04"));
  write_jpeg(folder / "small.jpg", image, 20);
  EXPECT_LT(test::read_file(folder / "small.jpg").size(), bytes.size());
  EXPECT_THROW(write_jpeg(folder / "image.jpg", image, 0), Error);
}

}  // namespace
}  // namespace orrery
