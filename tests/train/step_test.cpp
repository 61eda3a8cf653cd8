#include "train/step.h"

#include <gtest/gtest.h>

#include "autograd/save_policy.h"
#include "train/trainee.h"

namespace orrery {
namespace {

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

TEST(TrainStep, stored_latents_give_the_bits_of_their_films) {
  test::Trainee plain(test::small_config(4, 4)), mixed(test::small_config(4, 4));
  for (int64_t step = 0; step < 4; ++step) {
    const StepBatch films = test::scene_batch(step, 0, 4);
    StepBatch batch = films;
    batch.video = films.video.clone();
    batch.latents.resize(4);
    for (const int64_t slot : {0, 1, 3}) {
      if (step == 2 && slot == 1) continue;
      batch.latents[static_cast<size_t>(slot)] =
          mixed.tokenizer.encode(films.video.narrow(0, slot, 1))[0].clone();
      batch.video[slot].zero_();
    }
    EXPECT_EQ(mixed.step(batch, step).loss, plain.step(films, step).loss);
  }
  test::expect_same_weights(plain, mixed);
}

}  // namespace
}  // namespace orrery
