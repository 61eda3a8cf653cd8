// orrery plan as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "fixtures.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kBig = "[model]\npreset = 14b\n[numerics]\ndtype = bfloat16\n[train]\nbatch = 8\n";

class PlanCommand : public testing::Test {
 protected:
  PlanCommand() { test::write_file(folder_ / "a.ini", kBig); }
  const test::ScratchFolder folder_;
  const std::string big_ = (folder_ / "a.ini").string();
};

TEST_F(PlanCommand, a_configuration_that_fits_ends_with_0_and_shows_the_best_layouts) {
  const Result plan = run("plan " + big_ + " --gpus 64 --parallel.context=8 --parallel.shard=8");
  EXPECT_EQ(plan.code, 0);
  EXPECT_THAT(plan.text, HasSubstr("64 ranks: 1 x 8 x 8"));
  EXPECT_THAT(plan.text, HasSubstr("best layouts that fit"));
  EXPECT_THAT(plan.text, HasSubstr("fits: "));
}

TEST_F(PlanCommand, one_that_does_not_fit_ends_with_4_and_says_what_would) {
  const Result plan = run("plan " + big_ + " --gpus=8 --ceilings=h100");
  EXPECT_EQ(plan.code, 4);
  EXPECT_THAT(plan.text, HasSubstr("does not fit: "));
  EXPECT_THAT(plan.text, HasSubstr("1 x 1 x 8                    1, each"));
}

TEST_F(PlanCommand, json_holds_the_same_numbers) {
  const Result plan =
      run("plan --gpus=2 --model.preset=2b --numerics.dtype=bfloat16 --parallel.context=2 "
          "--train.batch=1 --memory.policy=full --json");
  EXPECT_EQ(plan.code, 0);
  const auto json = nlohmann::json::parse(plan.text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << plan.text;
  EXPECT_EQ(json["ceilings"], "NVIDIA H200 141GB");
  EXPECT_NEAR(json["plans"][0]["clip_flops"].get<double>(), 1.925e15, 1e11);
  EXPECT_EQ(json["plans"][0]["context"], 2);
}

TEST_F(PlanCommand, wrong_settings_and_ceilings_are_refused) {
  EXPECT_EQ(run("plan --ceilings=h300").code, 2);
  EXPECT_EQ(run("plan --gpus=0").code, 2);
  EXPECT_EQ(run("plan --data.frames=92").code, 2);
  EXPECT_EQ(run("plan --gpus=3 --parallel.shard=2").code, 2);
}

}  // namespace
}  // namespace orrery::cli
