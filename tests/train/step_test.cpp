#include "train/step.h"

#include <gtest/gtest.h>

#include "autograd/save_policy.h"
#include "base/error.h"
#include "fixtures.h"
#include "train/checkpoint.h"
#include "train/trainee.h"

namespace orrery {
namespace {

void expect_same_averages(test::Trainee& a, test::Trainee& b) {
  const auto &wa = a.step.averaged()->averages(), &wb = b.step.averaged()->averages();
  for (size_t i = 0; i < wa.size(); ++i) EXPECT_TRUE(at::equal(wa[i].tensor, wb[i].tensor)) << wa[i].name;
}

TEST(TrainStep, full_recompute_gives_the_same_bits) {
  test::Trainee keeping(test::small_config(6, 4)), recomputing(test::small_config(6, 4));
  for (const auto& block : recomputing.net().blocks)
    block->save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{});
  EXPECT_EQ(keeping.train(0, 6), recomputing.train(0, 6));
  test::expect_same_weights(keeping, recomputing);
}

TEST(TrainStep, micro_batches_add_up_to_the_batch) {
  Config config = test::small_config(4, 6);
  config.numerics.dtype = Dtype::float64;
  test::Trainee whole(config);
  config.train.micro_batch = 4;  // 4 + 2
  test::Trainee parts(config);
  EXPECT_NEAR(whole.train(0, 4), parts.train(0, 4), 1e-12);
}

TEST(TrainStep, bfloat16_follows_the_float32_loss) {
  Config config = test::small_config(10, 4);
  test::Trainee exact(config);
  config.numerics.dtype = Dtype::bfloat16;
  test::Trainee rounded(config);
  const double want = exact.train(0, 10);
  EXPECT_NEAR(rounded.train(0, 10), want, 0.02 * want);
}

TEST(Checkpoint, resume_continues_bit_for_bit) {
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 4);
  config.train.run_dir = folder.path();
  test::Trainee straight(config), first(config), second(config);
  straight.train(0, 8);
  first.train(0, 4);
  save_checkpoint(config, first.state(), 4, true);
  const auto found = checkpoint_to_resume(config);
  ASSERT_TRUE(found);
  EXPECT_EQ(load_checkpoint(*found, config, second.state()), 4);
  second.train(4, 8);
  test::expect_same_weights(straight, second);
  expect_same_averages(straight, second);
  EXPECT_EQ(second.net().video_samples.value().item<int64_t>(), 8 * 4);
}

TEST(Checkpoint, keeps_the_newest_and_ignores_unfinished_ones) {
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 2);
  config.train.run_dir = folder.path();
  config.ckpt.keep = 2;
  test::Trainee run(config);
  for (const int64_t done : {1, 2, 3}) save_checkpoint(config, run.state(), done, true);
  std::filesystem::create_directories(folder.path() / "checkpoints" / "step_000000009");
  EXPECT_EQ(checkpoint_to_resume(config)->filename(), "step_000000003");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoints" / "step_000000001"));
  config.train.resume = "never";
  EXPECT_FALSE(checkpoint_to_resume(config));
}

TEST(Checkpoint, checkpoints_of_another_branch_are_set_aside) {
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 2);
  config.train.run_dir = folder.path();
  config.ckpt.keep = 1;
  test::Trainee run(config);
  save_checkpoint(config, run.state(), 7, true);
  supersede_checkpoints(config, 2);
  save_checkpoint(config, run.state(), 3, true);
  EXPECT_EQ(checkpoint_to_resume(config)->filename(), "step_000000003");
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "checkpoints" / "superseded_step_000000007"));
}

TEST(Checkpoint, weights_and_averages_load_by_name_and_strangers_are_listed) {
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 2);
  config.train.run_dir = folder.path();
  test::Trainee run(config), model(config), averages(config);
  run.train(0, 3);
  save_checkpoint(config, run.state(), 3, true);
  const auto file = newest_checkpoint(folder.path()) / "model.safetensors";
  load_weights(file, model.net(), Weights::model);
  test::expect_same_weights(run, model);
  load_weights(file, averages.net(), Weights::ema);
  const NamedTensor& first = run.step.averaged()->averages().front();
  EXPECT_TRUE(at::equal(averages.net().parameters().front()->value(), first.tensor)) << first.name;
  EXPECT_FALSE(
      at::equal(averages.net().parameters().front()->value(), model.net().parameters().front()->value()));
  config.model.blocks = 1;
  test::Trainee shallow(config);
  try {
    load_weights(file, shallow.net(), Weights::model);
    ADD_FAILURE() << "a network without the file's second block took its weights";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("unexpected: net.blocks.1."), std::string::npos) << error.what();
  }
}

TEST(Checkpoint, another_model_or_seed_is_refused_by_name) {
  const test::ScratchFolder folder;
  Config config = test::small_config(8, 2);
  config.train.run_dir = folder.path();
  test::Trainee run(config);
  save_checkpoint(config, run.state(), 1, true);
  const auto found = *checkpoint_to_resume(config);
  config.model.blocks = 3;
  test::Trainee deeper(config);
  EXPECT_THROW(load_checkpoint(found, config, deeper.state()), Error);
  config.model.blocks = 0;
  config.train.seed = 8;
  EXPECT_THROW(load_checkpoint(found, config, run.state()), Error);
}

}  // namespace
}  // namespace orrery
