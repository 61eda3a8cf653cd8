#include "train/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace orrery {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() {
    config_.train.run_dir = testing::TempDir() + "run_log_" + std::to_string(getpid());
    config_.train.steps = 25;
    config_.train.log_every = 10;
  }
  ~RunLogTest() override { std::filesystem::remove_all(config_.train.run_dir); }

  // The run from one step to another; what people saw of it.
  std::string run(int64_t done, int64_t until) {
    testing::internal::CaptureStderr();
    {
      RunLog log(config_, world_, done);
      while (done < until) log.step(++done, {.loss = 0.5, .grad_norm = 2, .lr = 1e-3}, 30);
    }
    return testing::internal::GetCapturedStderr();
  }
  std::vector<nlohmann::json> lines() const {
    std::ifstream in(config_.train.run_dir + "/metrics.jsonl");
    std::vector<nlohmann::json> all;
    for (std::string line; std::getline(in, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> all;
    for (const auto& line : lines()) all.push_back(line.at("step"));
    return all;
  }

  World world_;
  Config config_;
};

TEST_F(RunLogTest, logged_steps_reach_the_file_and_people) {
  const std::string seen = run(0, 25);
  EXPECT_THAT(steps(), ElementsAre(10, 20, 25));  // every tenth and the last
  EXPECT_EQ(lines().front(),
            nlohmann::json::parse(R"({"step":10,"loss":0.5,"lr":0.001,"grad_norm":2.0,"step_ms":30.0})"));
  EXPECT_EQ(std::count(seen.begin(), seen.end(), '\n'), 3);
  EXPECT_THAT(seen,
              AllOf(HasSubstr("step 10/25  loss 0.5000"), HasSubstr("step 25/25"), HasSubstr("ETA 0:00")));
}

TEST_F(RunLogTest, resume_goes_on_behind_the_checkpoint) {
  run(0, 21);
  run(10, 25);
  EXPECT_THAT(steps(), ElementsAre(10, 20, 25));
  run(10, 11);
  EXPECT_THAT(steps(), ElementsAre(10));
}

TEST_F(RunLogTest, a_skipped_step_is_told) {
  testing::internal::CaptureStderr();
  RunLog(config_, world_, 0).step(3, {.skipped = true}, 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "step 3: skipped, a gradient was not finite\n");
}

TEST_F(RunLogTest, the_summary_holds_the_figures_of_the_evaluation) {
  const Evaluation evaluation = {.clips = 32,
                                 .psnr_model_db = 26.5,
                                 .psnr_repeat_db = 18.25,
                                 .ssim_model = 0.875,
                                 .ssim_repeat = 0.75,
                                 .judged = 30,
                                 .prompt_obeyed = 0.9,
                                 .unreadable = {},
                                 .contact_sheet_png = "png",
                                 .sheet_height = 4,
                                 .sheet_width = 5};
  testing::internal::CaptureStderr();
  RunLog(config_, world_, 0).summary(evaluation, 12.5, "films");
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("26.50 dB, SSIM 0.875"), HasSubstr("18.25 dB, 0.750"), HasSubstr("90 % of 30"),
                    HasSubstr("films")));
  std::ifstream in(config_.train.run_dir + "/summary.json");
  const auto summary = nlohmann::json::parse(in);
  EXPECT_EQ(summary, nlohmann::json::parse(R"({"psnr_model_db":26.5,"psnr_repeat_db":18.25,
                                               "ssim_model":0.875,"ssim_repeat":0.75,"prompt_obeyed":0.9,
                                               "clips":32,"train_seconds":12.5})"));
}

}  // namespace
}  // namespace orrery
