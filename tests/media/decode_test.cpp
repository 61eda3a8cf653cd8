// VideoFile on files made here; hard_files_test.cpp and frames_truth_slow_test.cpp use the shared collection.
#include "media/decode.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/rng.h"
#include "fixtures.h"
#include "media/encode.h"

namespace orrery {
namespace {

using testing::HasSubstr;

// Grey of frame i: far enough apart to survive coding.
int64_t shade(int64_t frame) {
  return 20 + frame * 37 % 200;
}

class VideoFileTest : public testing::Test {
 protected:
  // Frame i is flat grey shade(i) with a square that moves.
  std::filesystem::path make_film(int64_t frames, const Mp4Options& options = {}) {
    std::vector<at::Tensor> film;
    for (int64_t i = 0; i < frames; ++i) {
      film.push_back(at::full({32, 48, 3}, shade(i), at::kByte));
      film.back().narrow(0, 16, 8).narrow(1, i % 40, 8).fill_(255);
    }
    const auto path = folder_ / "film.mp4";
    write_mp4(path, at::stack(film), options);
    return path;
  }
  std::filesystem::path file_of(const std::string& name, std::string_view bytes) {
    test::write_file(folder_ / name, bytes);
    return folder_ / name;
  }
  static std::string refusal(const std::filesystem::path& path, const DecodeLimits& limits = {}) {
    try {
      VideoFile film(path, limits);
      film.read(0, film.frames());
    } catch (const Error& error) {
      return error.what();
    }
    return "not refused";
  }
  const test::ScratchFolder folder_;
};

int64_t grey_of(const at::Tensor& frame) {
  return frame.narrow(0, 0, 12).to(at::kInt).median().item<int64_t>();
}

TEST_F(VideoFileTest, any_order_gives_the_frames_of_reading_through) {
  const auto path =
      make_film(300, {.fps = {25, 1}, .preset = "slow"});  // key frames at most every 250, B-frames
  VideoFile through(path), jumping(path);
  ASSERT_EQ(through.frames(), 300);
  const at::Tensor all = through.read(0, 300);
  for (int64_t i = 0; i < 300; ++i) EXPECT_NEAR(grey_of(all[i]), shade(i), 4) << i;
  for (int64_t k = 0; k < 40; ++k) {
    const int64_t frame = k * 211 % 300;
    ASSERT_TRUE(at::equal(jumping.read(frame, 1)[0], all[frame])) << frame;
  }
  const std::vector<int64_t> numbers = {299, 0, 17, 17, 298, 0};
  const at::Tensor some = VideoFile(path, through.index()).read(numbers);
  for (size_t i = 0; i < numbers.size(); ++i)
    EXPECT_TRUE(at::equal(some[static_cast<int64_t>(i)], all[numbers[i]]));
}

TEST_F(VideoFileTest, times_and_frames_convert) {
  VideoFile film(make_film(10, {.fps = {30000, 1001}}));
  EXPECT_EQ(film.fps(), (Rational{30000, 1001}));
  EXPECT_DOUBLE_EQ(film.start_s(), 0);
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(film.time_s(i), static_cast<double>(i) * 1001 / 30000, 1e-6);
    EXPECT_EQ(film.frame_at(film.time_s(i)), i);
    EXPECT_EQ(film.frame_at(film.time_s(i) + 0.02), i);
  }
  EXPECT_EQ(film.frame_at(-1), 0);
  EXPECT_EQ(film.frame_at(100), 9);
}

TEST_F(VideoFileTest, refuses_frames_that_it_does_not_have) {
  VideoFile film(make_film(5));
  EXPECT_THROW(film.read(5, 1), Error);
  EXPECT_THROW(film.read(-1, 1), Error);
  EXPECT_THROW(film.read(3, 3), Error);
  EXPECT_THROW(film.read(1, INT64_MAX), Error);
  EXPECT_THROW(film.read(at::IntArrayRef{0, 7}), Error);
  EXPECT_THROW(film.time_s(5), Error);
  EXPECT_EQ(film.read(2, 0).sizes(), (at::IntArrayRef{0, 32, 48, 3}));
  EXPECT_NEAR(grey_of(film.read(4, 1)[0]), shade(4), 4);  // still usable
}

TEST_F(VideoFileTest, limits_are_checked_before_decoding) {
  const auto path = make_film(12);
  EXPECT_THAT(refusal(path, {.max_pixels = 32 * 48 - 1}), HasSubstr("48x32 pixels"));
  EXPECT_EQ(refusal(path, {.max_pixels = 32 * 48}), "not refused");
  EXPECT_EQ(refusal(path, {.max_pixels = INT64_MAX}), "not refused");
  EXPECT_THAT(refusal(path, {.max_frames = 11}), HasSubstr("more than 11"));
  EXPECT_THAT(refusal(path, {.max_read_bytes = 12 * 32 * 48 * 3 - 1}), HasSubstr("for one read"));
  EXPECT_EQ(refusal(path, {.max_read_bytes = 12 * 32 * 48 * 3}), "not refused");
  write_mp4(folder_ / "odd.mp4", at::full({2, 18, 54, 3}, 9, at::kByte));  // coded as 64 x 32
  EXPECT_EQ(refusal(folder_ / "odd.mp4", {.max_pixels = 18 * 54}), "not refused");
  write_png(folder_ / "image.png", at::full({20, 30, 3}, 9, at::kByte));
  EXPECT_EQ(refusal(folder_ / "image.png", {.max_pixels = 600}), "not refused");
  EXPECT_THAT(refusal(folder_ / "image.png", {.max_pixels = 599}), HasSubstr("image.png"));
  EXPECT_THAT(refusal(folder_ / "image.png", {.max_scan_pixels = 599}), HasSubstr("decoding more than 599"));
}

TEST_F(VideoFileTest, a_png_that_declares_a_huge_size_is_refused) {
  write_png(folder_ / "image.png", at::full({4, 4, 3}, 9, at::kByte));
  std::string bytes = test::read_file(folder_ / "image.png");
  bytes.replace(16, 8, std::string("\0\1\0\0\0\1\0\0", 8));  // width and height 65536 in the header chunk
  EXPECT_THAT(refusal(file_of("huge.png", bytes)), HasSubstr("huge.png"));
}

TEST_F(VideoFileTest, says_why_it_cannot_open_a_file) {
  EXPECT_THAT(refusal(folder_ / "none.mp4"), HasSubstr("none.mp4: no such file"));
  EXPECT_THAT(refusal(folder_.path()), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal(file_of("empty.mp4", "")), HasSubstr("0 bytes"));
  EXPECT_THAT(refusal(file_of("text.mp4", "only words")), HasSubstr("not a film or image"));
  ASSERT_EQ(mkfifo((folder_ / "pipe.mp4").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder_ / "pipe.mp4"),
              HasSubstr("not a regular file"));  // and does not wait for a writer
  const std::string film = test::read_file(make_film(5));
  EXPECT_THAT(refusal(file_of("cut.mp4", film.substr(0, film.find("mdat") / 2))), HasSubstr("cut off?"));
}

TEST_F(VideoFileTest, opens_no_file_that_a_file_names) {
  make_film(5);
  EXPECT_THAT(refusal(file_of("list.mp4", "ffconcat version 1.0\nfile film.mp4\n")), HasSubstr("not a film"));
  EXPECT_THAT(refusal(file_of("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.mp4\n")),
              HasSubstr("not a film"));
}

TEST_F(VideoFileTest, goes_by_content_and_takes_odd_names) {
  const std::string film = test::read_file(make_film(5));
  for (const char* name : {"a.png", "no ending", "50%d.mp4", "concat:x.mp4", "b,c|d.mp4"})
    EXPECT_EQ(VideoFile(file_of(name, film)).frames(), 5) << name;
}

TEST_F(VideoFileTest, gives_the_whole_frames_of_a_truncated_film_and_says_so) {
  const std::string film = test::read_file(make_film(40));
  VideoFile whole(folder_ / "film.mp4"),
      cut(file_of("cut.mp4", film.substr(0, film.size() - film.size() / 4)));
  EXPECT_LT(cut.frames(), 40);
  EXPECT_GT(cut.frames(), 5);
  ASSERT_EQ(cut.remarks().size(), 1u);
  EXPECT_THAT(cut.remarks()[0], HasSubstr("of 40"));
  EXPECT_TRUE(whole.remarks().empty());
  EXPECT_TRUE(at::equal(cut.read(0, 5), whole.read(0, 5)));
}

TEST_F(VideoFileTest, survives_damage_without_a_word_on_the_terminal) {
  const std::string film = test::read_file(make_film(40));
  testing::internal::CaptureStderr();
  Rng rng(1, "damage");
  for (int round = 0; round < 60; ++round) {
    std::string bytes = film;
    for (int hits = 0; hits < 6; ++hits)
      bytes[32 + rng.below(bytes.size() - 32)] = static_cast<char>(rng.next());
    refusal(file_of("damaged.mp4", bytes));  // an Error or frames, nothing else
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(VideoFileTest, an_index_belongs_to_the_file_as_it_was) {
  const auto path = make_film(12);
  const auto index = VideoFile(path).index();
  make_film(20);
  EXPECT_THROW(VideoFile(path, index), Error);
}

TEST_F(VideoFileTest, reads_webp) {
  const std::string bytes(
      "\x52\x49\x46\x46\x1e\0\0\0\x57\x45\x42\x50\x56\x50\x38\x4c\x11\0\0\0\x2f\x05\0\x01\0\x07\x50\x9e\x22"
      "\x97"
      "\xa2\xff\x81\x88\xe8\x7f\0\0",
      38);
  VideoFile image(file_of("image.webp", bytes));  // 6 x 5 pixels of 200, 60, 20
  EXPECT_EQ(image.frames(), 1);
  EXPECT_EQ(image.width(), 6);
  EXPECT_EQ(image.height(), 5);
  const at::Tensor pixel = image.read(0, 1)[0][2][3];
  EXPECT_EQ(pixel[0].item<int>(), 200);
  EXPECT_EQ(pixel[1].item<int>(), 60);
  EXPECT_EQ(pixel[2].item<int>(), 20);
}

TEST(FileKind, goes_by_the_ending) {
  EXPECT_TRUE(has_video_extension("a/b.MP4"));
  EXPECT_TRUE(has_video_extension("b.ogv"));
  EXPECT_FALSE(has_video_extension("b.png"));
  EXPECT_FALSE(has_video_extension("mp4"));
  EXPECT_TRUE(has_image_extension("b.webp"));
  EXPECT_FALSE(has_image_extension("b.webp.txt"));
}

}  // namespace
}  // namespace orrery
