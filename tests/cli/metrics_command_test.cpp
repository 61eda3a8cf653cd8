// orrery metrics: its films, its figures, its refusals.
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ckpt/safetensors.h"
#include "cli/commands.h"
#include "fixtures.h"
#include "media/codecs.h"
#include "media/encode.h"

namespace orrery::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class MetricsCommand : public testing::Test {
 protected:
  // What it prints.
  static std::string metrics(const std::vector<std::string>& arguments) {
    testing::internal::CaptureStdout();
    try {
      run_metrics(arguments);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    return testing::internal::GetCapturedStdout();
  }
  nlohmann::json figures() const {
    return nlohmann::json::parse(test::read_file(folder_ / "figures.json"), nullptr, false);
  }
  std::string option(const std::string& key, const std::string& name) const {
    return "--" + key + "=" + (folder_ / name).string();
  }
  const test::ScratchFolder folder_;
  const std::string json_ = option("json", "figures.json");
};

TEST_F(MetricsCommand, films_are_measured_and_their_figures_written) {
  if (ffmpeg_version().empty()) GTEST_SKIP() << "built without FFmpeg";
  for (const char* name : {"films", "truth/videos"}) std::filesystem::create_directories(folder_ / name);
  for (const int64_t level : {100, 120}) {
    const std::string name = std::to_string(level) + ".mp4";
    write_mp4(folder_ / ("films/" + name), at::full({5, 16, 16, 3}, level, at::kByte));
    write_mp4(folder_ / ("truth/videos/" + name), at::full({5, 16, 16, 3}, 100, at::kByte));
  }
  const std::string films = option("films", "films"), truth = option("truth", "truth");
  EXPECT_THAT(metrics({films, truth, json_}),
              AllOf(HasSubstr("psnr_db"), HasSubstr("100  "), HasSubstr("mean of 2 ")));
  EXPECT_EQ(figures()["films"]["100"]["psnr_db"], 99);
  EXPECT_NEAR(figures()["films"]["120"]["psnr_db"].get<double>(), 22.1, 0.5);  // 20 of 255 levels
  EXPECT_EQ(figures()["films"]["120"]["frames"], 4);
  EXPECT_EQ(figures()["mean"]["frames"], 8);
  std::filesystem::remove(folder_ / "truth/videos/120.mp4");
  EXPECT_THAT(
      [&] {
        metrics({films, truth});
      },
      ThrowsMessage<Error>(HasSubstr("no film of the name of 120.mp4")));
}

TEST_F(MetricsCommand, features_give_the_chosen_distance) {
  const at::Tensor features = at::eye(2);  // mean 1/2, trace of the covariance 1/2 over n and 1 over n - 1
  save_safetensors(folder_ / "a.safetensors", {{"x", features}});
  save_safetensors(folder_ / "b.safetensors", {{"x", features * 3}});
  const std::string ours = option("features", "a.safetensors");
  const std::string true_ones = option("true_features", "b.safetensors");
  EXPECT_THAT(metrics({ours, true_ones, json_}), HasSubstr("2 against 2 items of 2 features"));
  EXPECT_NEAR(figures()["fvd"].get<double>(), 2 + 0.5 * 4, 1e-6);  // |(1,1)|^2 + tr(C) (3 - 1)^2
  metrics({ours, true_ones, json_, "--distance=fid"});
  EXPECT_NEAR(figures()["fid"].get<double>(), 2 + 1 * 4, 1e-6);
}

TEST_F(MetricsCommand, a_file_that_cannot_be_written_is_refused_before_anything_is_measured) {
  const std::vector<std::string> unreadable = {"--features=/nowhere/a", "--true_features=/nowhere/b"};
  const auto refusal = [&](const std::string& json) {
    EXPECT_THAT(([&] {
                  metrics({unreadable[0], unreadable[1], "--json=" + json});
                }),
                ThrowsMessage<Error>(HasSubstr(json)));
  };
  refusal((folder_ / "no_folder/figures.json").string());
  refusal(folder_.path().string());
  refusal("/dev/null");
  test::write_file(folder_ / "figures.json", "{}");  // stays where nothing was measured
  EXPECT_THROW(metrics({unreadable[0], unreadable[1], json_}), Error);
  EXPECT_EQ(test::read_file(folder_ / "figures.json"), "{}");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(MetricsCommand, half_a_question_is_refused) {
  const auto refusal = [&](const std::vector<std::string>& arguments, const std::string& message) {
    EXPECT_THAT([&] { metrics(arguments); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  refusal({}, "neither --films nor --features");
  refusal({"--films=a"}, "--films and --truth go together");
  refusal({"--features=a"}, "--features and --true_features go together");
  refusal({"--run=a", "--features=a", "--true_features=b"}, "--run has no effect without --films");
}

}  // namespace
}  // namespace orrery::cli
