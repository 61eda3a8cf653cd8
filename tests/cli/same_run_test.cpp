#include "cli/same_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

std::string refusal(const Config& before, const Config& now) {
  Config copy = before;
  try {
    require_same_run(ini_of(settings_of(copy)), now);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string shown(Config config, const std::string& key) {
  const Settings table = settings_of(config);
  return table.find(key)->show();
}

TEST(SameRun, how_a_run_is_computed_and_saved_may_change) {
  Config before, now;
  before.data.path = now.data.path = "films with \"quotes\"";
  now.train.steps = 7;
  now.train.run_dir = "elsewhere";
  now.train.micro_batch = 2;
  now.parallel.shard = 4;
  now.memory.policy = MemoryPolicy::full;
  now.ckpt.every = 5;
  now.sample.clips = 9;
  now.data.workers = 1;
  EXPECT_EQ(refusal(before, now), "");
}

TEST(SameRun, what_a_run_learns_may_not_and_both_values_are_named) {
  const std::vector<std::pair<std::string, std::function<void(Config&)>>> kChanges = {
      {"model.blocks", [](Config& c) { c.model.blocks = 3; }},
      {"data.path", [](Config& c) { c.data.path = "other"; }},
      {"data.height", [](Config& c) { c.data.height = 64; }},
      {"train.batch", [](Config& c) { c.train.batch = 3; }},
      {"train.seed", [](Config& c) { c.train.seed = 3; }},
      {"train.lr", [](Config& c) { c.train.lr = 3; }},
      {"optim.beta1", [](Config& c) { c.optim.beta1 = 0.3; }},
      {"flow.shift", [](Config& c) { c.flow.shift = 3; }},
      {"numerics.dtype", [](Config& c) { c.numerics.dtype = Dtype::float64; }},
      {"tokenizer.channels", [](Config& c) { c.tokenizer.channels = 3; }},
      {"text.tokens", [](Config& c) { c.text.tokens = 3; }}};
  for (const auto& [key, change] : kChanges) {
    Config before, now;
    change(now);
    const std::string message = refusal(before, now);
    EXPECT_THAT(message, testing::StartsWith(key + ": got \""));
    EXPECT_THAT(message, testing::HasSubstr("has \"" + shown(before, key) + "\""));
  }
}

}  // namespace
}  // namespace orrery::cli
