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

}  // namespace
}  // namespace orrery
