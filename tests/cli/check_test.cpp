#include "cli/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/version.h"
#include "cli/options.h"
#include "cli/run_files.h"

namespace orrery::cli {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Config with(const Pairs& changes) {
  Config config;
  const Settings table = settings_of(config);
  table.set("data.path", "films", "");
  for (const auto& [key, value] : changes) table.set(key, value, "");
  return config;
}

// The last change makes the configuration wrong: without it, it is accepted.
void expect_refused(Pairs changes, const std::string& message) {
  const std::string last = changes.back().first;
  try {
    check_config(with(changes));
    ADD_FAILURE() << last << " is accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(message));
  }
  changes.pop_back();
  EXPECT_NO_THROW(check_config(with(changes))) << last;
}

TEST(CheckConfig, combinations_that_cannot_work_are_refused) {
  expect_refused({{"data.path", ""}}, "data.path: got \"\", wanted the folder");
  expect_refused({{"data.frames", "16"}}, "data.frames: got \"16\"");
  expect_refused({{"data.height", "60"}}, "data.height: got \"60\"");
  expect_refused({{"data.width", "60"}}, "data.width: got \"60\"");
  expect_refused({{"train.run_dir", ""}}, "train.run_dir");
  expect_refused({{"train.resume", ""}}, "train.resume");
  expect_refused({{"train.steps", "400001"}}, "optim.cycle: got \"400000\"");
  expect_refused({{"optim.warmup", "400000"}}, "optim.warmup");
  expect_refused({{"flow.condition_weights", "1"}}, "flow.condition_weights");
  expect_refused({{"flow.condition_weights", "0, 0, 0"}}, "flow.condition_weights");
  expect_refused({{"flow.condition_frames", "0, 1, 25"}}, "flow.condition_frames");
  expect_refused({{"sample.condition_frames", "24"}}, "sample.condition_frames");
  expect_refused({{"sample.weights", "model"}, {"optim.ema", "none"}, {"sample.weights", "ema"}},
                 "sample.weights");
  expect_refused({{"parallel.shard", "0"}}, "parallel.replicate: got \"0\"");
  EXPECT_NO_THROW(check_config(with({{"parallel.replicate", "1"}, {"parallel.shard", "0"}})));
  expect_refused({{"parallel.context", "5"}}, "parallel.context: got \"5\"");
  EXPECT_NO_THROW(check_config(with({{"flow.shift", "0"}, {"sample.shift", "0"}})));  // by resolution
  const Pairs wan = {{"tokenizer.kind", "wan"}, {"tokenizer.weights", "random"}};
  EXPECT_NO_THROW(check_config(with(wan)));
  expect_refused({wan[0], wan[1], {"tokenizer.channels", "8"}}, "tokenizer.channels: got \"8\", wanted 16");
  expect_refused({wan[0], wan[1], {"tokenizer.weights", ""}}, "tokenizer.weights: got \"\", wanted the file");
  expect_refused({wan[0], wan[1], {"tokenizer.encode_window", "6"}}, "wanted a multiple of 4");
  Config none = with({});
  none.flow.condition_frames = {};
  EXPECT_THROW(check_config(none), Error);
}

TEST(CheckConfig, settings_without_effect_are_refused) {
  for (const auto& change : {Pairs::value_type{"tokenizer.weights", "random"},
                             {"tokenizer.width", "8"},
                             {"tokenizer.dtype", "float32"},
                             {"tokenizer.encode_window", "4"},
                             {"tokenizer.decode_window", "2"}})
    expect_refused({change}, "has no effect: it needs tokenizer.kind=wan");
  for (const auto& change : {Pairs::value_type{"tokenizer.fit_clips", "2"}, {"tokenizer.whitening", "1"}})
    expect_refused({{"tokenizer.kind", "wan"}, {"tokenizer.weights", "random"}, change},
                   "has no effect: it needs tokenizer.kind=linear");
  expect_refused({{"numerics.dtype", "float64"}, {"numerics.reduce_dtype", "bfloat16"}},
                 "numerics.reduce_dtype=bfloat16 has no effect");
  expect_refused({{"numerics.tune", "true"}},
                 "numerics.tune=true has no effect: it needs numerics.device=cuda");
  expect_refused({{"data.image_batches", "2"}},
                 "data.image_batches=2 has no effect: it needs data.image_path");
  expect_refused({{"data.video_batches", "2"}}, "data.video_batches=2 has no effect");
  expect_refused({{"data.image_batch", "2"}}, "data.image_batch=2 has no effect");
  for (const auto& change : {Pairs::value_type{"data.stride", "2"},
                             {"flow.condition_frames", "0, 1, 3"},
                             {"flow.condition_weights", "1, 1, 1"},
                             {"flow.condition_timestep", "0.1"},
                             {"flow.replace_condition", "false"}}) {
    expect_refused({{"data.frames", "1"}, change}, "has no effect: it needs data.frames > 1");
  }
  for (const auto& change : {Pairs::value_type{"optim.cycle", "500000"},
                             {"optim.start_factor", "0.5"},
                             {"optim.max_factor", "0.5"}}) {
    expect_refused({{"optim.schedule", "linear"}, change}, "has no effect: it needs optim.schedule");
  }
  expect_refused({{"optim.schedule", "constant"}, {"optim.min_factor", "0.1"}},
                 "optim.min_factor=0.1 has no effect");
  expect_refused({{"optim.ema", "constant"}, {"optim.ema_rate", "0.2"}}, "optim.ema_rate=0.2 has no effect");
  expect_refused({{"optim.ema_decay", "0.9"}}, "optim.ema_decay=0.9 has no effect");
  expect_refused({{"optim.master_weights", "false"}}, "needs numerics.dtype=bfloat16");
  expect_refused({{"sample.sigmas", "karras"}, {"sample.shift", "3"}}, "sample.shift=3 has no effect");
  expect_refused({{"ckpt.every", "0"}, {"ckpt.keep", "1"}}, "ckpt.keep=1 has no effect");
  expect_refused({{"sample.guidance", "0"}, {"sample.negative_prompt", "blurred"}},
                 "sample.negative_prompt=blurred has no effect");
  expect_refused({{"sample.every", "0"}, {"sample.path", "films"}}, "sample.path=films has no effect");
  expect_refused({{"sample.every", "0"}, {"sample.clips", "2"}}, "sample.clips=2 has no effect");
  expect_refused({{"data.held_out", "2"}, {"sample.path", "films"}}, "data.held_out=2 has no effect");
  expect_refused({{"sample.final_clips", "2"}}, "sample.final_clips=2 has no effect");
}

TEST(CheckConfig, recipes_are_accepted) {
  int64_t recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(ORRERY_SOURCE_DIR) + "/launch")) {
    if (entry.path().extension() != ".ini") continue;
    SCOPED_TRACE(entry.path());
    Config config;
    config.data.path = "films";
    EXPECT_NO_THROW(read_ini(entry.path(), settings_of(config)); check_config(config));
    ++recipes;
  }
  if (recipes == 0) GTEST_SKIP() << "launch/ has no recipe";
}

class RunFilesTest : public testing::Test {
 protected:
  RunFilesTest() { config_.train.run_dir = folder_ / "deep" / "run"; }
  ~RunFilesTest() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_ = testing::TempDir() + "run_files_" + std::to_string(getpid());
  Config config_ = with({{"train.seed", "7"}, {"train.lr", "0.1"}});
};

TEST_F(RunFilesTest, configuration_comes_back_and_the_run_is_described) {
  open_run_folder(config_.train);
  write_run_files(config_, {"--train.lr=0.1", "\xff"}, 2);
  Config again;
  read_ini(config_.train.run_dir + "/config.ini", settings_of(again));
  EXPECT_TRUE(again == config_);
  std::ifstream in(config_.train.run_dir + "/run.json");
  const auto run = nlohmann::json::parse(in);
  EXPECT_EQ(run.at("version"), version());
  EXPECT_EQ(run.at("commit"), git_commit());
  EXPECT_EQ(run.at("seed"), 7);
  EXPECT_EQ(run.at("ranks"), 2);
  EXPECT_EQ(run.at("arguments").at(0), "--train.lr=0.1");
  EXPECT_TRUE(run.contains("host") && run.contains("started") && run.contains("libtorch"));
}

TEST_F(RunFilesTest, never_resume_does_not_overwrite_a_run) {
  config_.train.resume = "never";
  open_run_folder(config_.train);
  open_run_folder(config_.train);  // a run that failed before its first logged step leaves nothing to protect
  std::ofstream(config_.train.run_dir + "/metrics.jsonl") << "{}\n";
  EXPECT_THROW(open_run_folder(config_.train), Error);
  config_.train.resume = "auto";
  EXPECT_NO_THROW(open_run_folder(config_.train));
}

TEST_F(RunFilesTest, a_folder_that_cannot_be_made_is_refused) {
  config_.train.run_dir = "/proc/run";
  EXPECT_THROW(open_run_folder(config_.train), Error);
}

}  // namespace
}  // namespace orrery::cli
