#include "data/bucket.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

TEST(Bucket, parses_sizes_and_tables) {
  EXPECT_EQ(parse_bucket("704x1280"), (std::vector<FrameSize>{{704, 1280}}));
  EXPECT_EQ(parse_bucket("480p"),
            (std::vector<FrameSize>{{640, 640}, {480, 640}, {640, 480}, {480, 832}, {832, 480}}));
  EXPECT_EQ(parse_bucket("256").size(), 5u);
}

TEST(Bucket, refuses_what_is_no_size) {
  for (const char* text : {"", "x", "64", "64x", "x64", "64x64x64", "-64x64", "0x64", "64x0", "64 x 64",
                           "64X64", "99999999x64", "64x99999999999999999999", "720i"})
    EXPECT_THROW(parse_bucket(text), Error) << text;
  EXPECT_THROW(bucket_sizes(0, 64, {}), Error);
}

TEST(Bucket, keeps_the_order_and_drops_repetitions) {
  const std::vector<std::string> texts = {"32x64", "64x64", "32x64"};
  EXPECT_EQ(bucket_sizes(64, 64, texts), (std::vector<FrameSize>{{64, 64}, {32, 64}}));
}

TEST(Bucket, chooses_the_nearest_aspect_ratio) {
  const std::vector<FrameSize> sizes = parse_bucket("720");
  const auto chosen = [&](int64_t height, int64_t width) {
    return sizes[nearest_bucket(sizes, height, width)];
  };
  EXPECT_EQ(chosen(1080, 1920), (FrameSize{704, 1280}));
  EXPECT_EQ(chosen(1920, 1080), (FrameSize{1280, 704}));
  EXPECT_EQ(chosen(480, 640), (FrameSize{704, 960}));
  EXPECT_EQ(chosen(640, 480), (FrameSize{960, 704}));
  EXPECT_EQ(chosen(7, 7), (FrameSize{960, 960}));
  EXPECT_EQ(chosen(64, 16384), (FrameSize{704, 1280}));
}

TEST(Bucket, takes_the_nearest_area_of_equal_ratios) {
  const std::vector<FrameSize> sizes = {{512, 512}, {128, 128}, {128, 128}};
  EXPECT_EQ(nearest_bucket(sizes, 100, 100), 1);
  EXPECT_EQ(nearest_bucket(sizes, 1000, 1000), 0);
}

}  // namespace
}  // namespace orrery
