// Awkward media files of ../shared/data/hard against EXPECT.json, and frames_truth.
#include <gtest/gtest.h>

#include <ATen/ops/from_blob.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "media/decode.h"

namespace orrery {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
const fs::path kData = fs::path(ORRERY_SOURCE_DIR) / ".." / "shared" / "data";

json read_json(const fs::path& path) {
  std::ifstream in(path);
  return json::parse(in);
}

// "0..47" or a list.
std::vector<int64_t> codes_of(const json& expected) {
  if (expected.is_array()) return expected.get<std::vector<int64_t>>();
  const std::string text = expected.get<std::string>();
  std::vector<int64_t> codes;
  for (int64_t code = std::stoll(text); code <= std::stoll(text.substr(text.find("..") + 2)); ++code)
    codes.push_back(code);
  return codes;
}

bool is_white(const at::Tensor& frame, int64_t top, int64_t left, int64_t height, int64_t width) {
  return frame.narrow(0, top, height).narrow(1, left, width).to(at::kFloat).mean().item<float>() > 128;
}

// The source frame number drawn into the picture; see data/README.md.
int64_t index_code(const at::Tensor& frame) {
  int64_t code = 0;
  if (frame.size(1) == 16) {
    for (int bit = 0; bit < 16; ++bit)
      code |= int64_t{is_white(frame, bit / 4 * 4 + 1, bit % 4 * 4 + 1, 2, 2)} << bit;
    return code;
  }
  const int64_t block = 10;
  for (int bit = 0; bit < 16 && bit * block + block <= frame.size(1); ++bit)
    code |= int64_t{is_white(frame, 2, bit * block + 3, 4, 4)} << bit;
  return code;
}

class HardFile : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!fs::exists(kData / "hard" / "EXPECT.json")) GTEST_SKIP() << "shared/data/hard is not here";
    expected_ = read_json(kData / "hard" / "EXPECT.json")[GetParam()];
    path_ = kData / "hard" / GetParam();
  }
  json expected_;
  fs::path path_;
};

TEST_P(HardFile, is_treated_as_expected) {
  if (!expected_["decode"].get<bool>()) {
    try {
      VideoFile film(path_);
      FAIL() << "opened with " << film.frames() << " frames";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(GetParam()), std::string::npos) << error.what();
    }
    return;
  }
  VideoFile film(path_);
  const int64_t frames = expected_["frames"];
  EXPECT_GE(film.frames(), expected_.value("frames_min", frames));
  EXPECT_LE(film.frames(), expected_.value("frames_max", frames));
  EXPECT_EQ(film.width(), expected_["width"].get<int64_t>());
  EXPECT_EQ(film.height(), expected_["height"].get<int64_t>());
  EXPECT_EQ(text_of(film.fps().num, "/", film.fps().den), expected_["fps"].get<std::string>());
  EXPECT_EQ(film.codec(), expected_["codec"].get<std::string>());
  if (expected_["start_s"].is_number()) {
    EXPECT_NEAR(film.start_s(), expected_["start_s"].get<double>(), 1e-3);
  }
  for (size_t i = 0; i < expected_.value("pts_s", json::array()).size(); ++i)
    EXPECT_NEAR(film.time_s(static_cast<int64_t>(i)), expected_["pts_s"][i].get<double>(), 1e-3);
  const at::Tensor mean = film.read(0, 1).to(at::kDouble).mean(at::IntArrayRef{0, 1, 2});
  for (int channel = 0; channel < 3; ++channel)
    EXPECT_NEAR(mean[channel].item<double>(), expected_["first_frame_mean_rgb"][channel].get<double>(), 2.5);
  const at::Tensor picture = film.read(0, 1)[0];
  for (const json& patch : expected_.value("patches", json::array()))
    for (int channel = 0; channel < 3; ++channel)
      EXPECT_NEAR(picture[patch["y"].get<int64_t>()][patch["x"].get<int64_t>()][channel].item<double>(),
                  patch["rgb"][channel].get<double>(), expected_["patch_tolerance"].get<double>());
}

TEST_P(HardFile, seeks_exactly) {
  if (!expected_.contains("index_codes")) return;
  const std::vector<int64_t> codes = codes_of(expected_["index_codes"]);
  VideoFile film(path_);
  ASSERT_GE(film.frames(), static_cast<int64_t>(codes.size()));
  const int64_t count = static_cast<int64_t>(codes.size());
  for (int64_t i = 0; i < std::min<int64_t>(count, 150); ++i) {  // all over the place, forwards and backwards
    const int64_t frame = i * 7919 % count;
    ASSERT_EQ(index_code(film.read(frame, 1)[0]), codes[frame]) << "frame " << frame;
  }
  VideoFile again(path_, film.index());
  const int64_t last = std::min<int64_t>(count, 300);
  const at::Tensor all = again.read(count - last, last);
  for (int64_t i = 0; i < last; ++i) ASSERT_EQ(index_code(all[i]), codes[count - last + i]) << "frame " << i;
}

std::vector<std::string> hard_files() {
  std::vector<std::string> names;
  const fs::path path = kData / "hard" / "EXPECT.json";
  const json expected = fs::exists(path) ? read_json(path) : json::object();
  for (const auto& entry : expected.items()) names.push_back(entry.key());
  if (names.empty()) names.push_back("shared/data/hard");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Shared, HardFile, testing::ValuesIn(hard_files()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
});

}  // namespace
}  // namespace orrery
