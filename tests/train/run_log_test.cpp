#include "train/run_log.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "media/decode.h"

namespace orrery {
namespace {

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() {
    config_.run_dir = testing::TempDir() + "run_log_" + std::to_string(getpid()) + "/deep/run";
    config_.steps = 100;
  }
  ~RunLogTest() override {
    std::filesystem::remove_all(std::filesystem::path(config_.run_dir).parent_path().parent_path());
  }
  std::vector<int64_t> logged_steps() const {
    std::ifstream in(config_.run_dir + "/metrics.jsonl");
    std::vector<int64_t> steps;
    for (std::string line; std::getline(in, line);) steps.push_back(nlohmann::json::parse(line).at("step"));
    return steps;
  }

  TrainConfig config_;
  std::ostringstream out_;
};

TEST_F(RunLogTest, a_logged_step_reaches_file_events_and_people) {
  RunLog log(config_, {.out = &out_});
  log.tick(1);
  log.log(10, {.loss = 0.5, .lr = 1e-3, .grad_norm = 2, .step_ms = 30, .more = {{"clips_per_s", 4}}});
  log.note("sample films: runs/x");
  std::ifstream in(config_.run_dir + "/metrics.jsonl");
  const auto line = nlohmann::json::parse(in);
  EXPECT_EQ(line,
            nlohmann::json::parse(
                R"({"step":10,"loss":0.5,"lr":0.001,"grad_norm":2.0,"step_ms":30.0,"clips_per_s":4.0})"));
  EXPECT_THAT(out_.str(), testing::AllOf(testing::StartsWith("step 10/100  loss 0.5"),
                                         testing::EndsWith("sample films: runs/x\n")));
}

TEST_F(RunLogTest, pictures_and_films_lie_in_the_step_s_folder) {
  RunLog log(config_, {.out = &out_});
  log.image(100, "sheet", at::full({32, 48, 3}, 77, at::kByte));
  log.film(100, "clip_0", at::full({5, 32, 48, 3}, 77, at::kByte), 8);
  const std::string folder = config_.run_dir + "/samples/step_00000100/";
  EXPECT_TRUE(VideoFile(folder + "sheet.png").read(0, 1).eq(77).all().item<bool>());
  VideoFile film(folder + "clip_0.mp4");
  EXPECT_EQ(film.frames(), 5);
  EXPECT_EQ(film.fps(), (Rational{8, 1}));
}

TEST_F(RunLogTest, resume_goes_on_behind_the_checkpoint) {
  {
    RunLog log(config_, {.out = &out_});
    for (int64_t step = 10; step <= 50; step += 10) log.log(step, {});
  }
  {
    RunLog log(config_, {.steps_done = 30, .out = &out_});
    log.log(40, {});
  }
  EXPECT_THAT(logged_steps(), testing::ElementsAre(10, 20, 30, 40));
}

TEST_F(RunLogTest, never_resume_does_not_overwrite_a_run) {
  config_.resume = "never";
  prepare_run_folder(config_);
  prepare_run_folder(config_);  // a run that failed before its first step leaves nothing to protect
  { RunLog(config_, {.out = &out_}).log(10, {}); }
  EXPECT_THROW(prepare_run_folder(config_), Error);
  EXPECT_THROW(RunLog(config_, {.out = &out_}), Error);
  EXPECT_THAT(logged_steps(), testing::ElementsAre(10));
}

TEST_F(RunLogTest, other_ranks_write_nothing) {
  RunLog log(config_, {.writes = false, .out = &out_});
  log.tick(1);
  log.log(10, {});
  log.note("x");
  log.scalars(10, {{"psnr", 1}});
  log.image(1, "a", at::full({8, 8, 3}, 1, at::kByte));
  log.film(1, "a", at::full({1, 8, 8, 3}, 1, at::kByte), 8);
  EXPECT_FALSE(std::filesystem::exists(config_.run_dir));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(RunLogTest, a_folder_that_cannot_be_made_is_refused) {
  config_.run_dir = "/proc/run";
  EXPECT_THROW(prepare_run_folder(config_), Error);
  config_.run_dir = "";
  EXPECT_THROW(prepare_run_folder(config_), Error);
}

}  // namespace
}  // namespace orrery
