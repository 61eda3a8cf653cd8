// Camera films of ../shared/data/films against frames decoded by PyAV (frames_truth.json says how).
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "ckpt/safetensors.h"
#include "media/decode.h"

namespace orrery {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
const fs::path kData = fs::path(ORRERY_SOURCE_DIR) / ".." / "shared" / "data";

// Mean of blocks of size x size pixels, the remainder cut off, rounded half up. [H,W,3] uint8 -> [h,w,3]
// double.
at::Tensor block_means(const at::Tensor& frame, int64_t size) {
  const at::Tensor planes = frame.permute({2, 0, 1}).to(at::kDouble).unsqueeze(0);
  return at::avg_pool2d(planes, {size, size})[0].permute({1, 2, 0}).add(0.5).floor();
}

double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

class FramesTruth : public testing::TestWithParam<std::string> {};

TEST_P(FramesTruth, frames_and_times_agree) {
  if (!fs::exists(kData / "frames_truth.json")) GTEST_SKIP() << "shared/data/frames_truth is not here";
  std::ifstream in(kData / "frames_truth.json");
  const json film = json::parse(in)["films"][GetParam()];
  const Safetensors truth(kData / "frames_truth.safetensors");
  const auto tensor = [&](const std::string& name) { return truth.tensor(GetParam() + "." + name); };
  VideoFile video(kData / film["file"].get<std::string>());
  ASSERT_EQ(video.frames(), film["frames"].get<int64_t>());
  EXPECT_EQ(video.width(), film["width"].get<int64_t>());
  EXPECT_EQ(video.height(), film["height"].get<int64_t>());

  const std::string base = film["time_base"];
  const double unit = std::stod(base) / std::stod(base.substr(base.find('/') + 1));
  const at::Tensor all_pts = tensor("all_pts");
  for (int64_t i = 0; i < video.frames(); ++i)
    ASSERT_NEAR(video.time_s(i), all_pts[i].item<double>() * unit, 1e-9) << "frame " << i;

  const double tolerance = film["tolerance_255"];
  const int64_t size = film["crop_size"], x = film["crop_x"], y = film["crop_y"], block = film["small_block"];
  const at::Tensor numbers = tensor("index").to(at::kLong);
  std::vector<int64_t> wanted;
  for (int64_t k = 0; k < numbers.size(0); ++k) wanted.push_back(numbers[k].item<int64_t>());
  const at::Tensor frames = video.read(wanted);
  for (int64_t k = 0; k < numbers.size(0); ++k) {
    const at::Tensor frame = frames[k];
    EXPECT_LE(mean_difference(frame.narrow(0, y, size).narrow(1, x, size), tensor("crop")[k]), tolerance)
        << k;
    EXPECT_LE(mean_difference(block_means(frame, block), tensor("small")[k]), tolerance) << k;
    const at::Tensor mean = frame.to(at::kDouble).mean(at::IntArrayRef{0, 1});
    EXPECT_LE(mean_difference(mean, tensor("mean_rgb")[k]), tolerance) << k;
  }
  const size_t middle = wanted.size() / 2;  // backwards: a seek
  EXPECT_TRUE(at::equal(video.read(wanted[middle], 1)[0], frames[static_cast<int64_t>(middle)]));
}

INSTANTIATE_TEST_SUITE_P(Shared, FramesTruth,
                         testing::Values("cup_rotation", "cockatoo", "dog", "bunny", "city_night",
                                         "ball_classroom", "rocket_launch"),
                         [](const auto& info) { return info.param; });

struct Film {
  const char* name;
  int64_t frames, width, height;
};
class Films : public testing::TestWithParam<Film> {};

TEST_P(Films, decode_to_the_end) {  // numbers of films/SOURCES.md
  const fs::path path = kData / "films" / "videos" / GetParam().name;
  if (!fs::exists(path)) GTEST_SKIP() << "shared/data/films/" << GetParam().name << " is not here";
  VideoFile video(path);
  EXPECT_EQ(video.frames(), GetParam().frames);
  EXPECT_EQ(video.width(), GetParam().width);
  EXPECT_EQ(video.height(), GetParam().height);
  const at::Tensor last = video.read(video.frames() - 1, 1), first = video.read(0, 1);
  EXPECT_GT(mean_difference(first, last), 0.05);
}

INSTANTIATE_TEST_SUITE_P(Shared, Films,
                         testing::Values(Film{"ball_overhead.mp4", 152, 720, 576},
                                         Film{"coin_and_pen.mov", 243, 568, 320},
                                         Film{"cyclist.avi", 16, 400, 300},
                                         Film{"grand_prix_1906.ogv", 288, 214, 160},
                                         Film{"teapot.mov", 91, 256, 256}),
                         [](const auto& info) {
                           const std::string name = info.param.name;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace orrery
