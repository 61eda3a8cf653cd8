// The copy to host memory under the next step, from a GPU.
#include <ATen/Context.h>

#include "base/numerics.h"
#include "fixtures.h"
#include "train/trainee.h"

namespace orrery {
namespace {

TEST(CheckpointGpu, training_under_a_save_changes_nothing_of_it_and_resume_is_exact) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  set_deterministic(true);
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 4);
  config.numerics.device = Device::cuda;
  config.train.run_dir = folder.path();
  test::Trainee straight(config), saved(config), resumed(config);
  straight.train(0, 8);
  saved.train(0, 4);
  CheckpointSaver saver(config, saved.state(), "", [](const SaveReport& r) { EXPECT_EQ(r.reason, ""); });
  saved.step.before_update = [&] { saver.before_update(); };
  saver.save(4, true);
  saved.train(4, 8);
  EXPECT_TRUE(saver.finish());
  EXPECT_EQ(resumed.resume(), 4);
  resumed.train(4, 8);
  test::expect_same_weights(straight, saved);
  test::expect_same_weights(straight, resumed);
  set_deterministic(false);
}

}  // namespace
}  // namespace orrery
