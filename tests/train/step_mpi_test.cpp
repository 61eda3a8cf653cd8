// The same global batches on one rank and on several: the same losses.
#include <gtest/gtest.h>

#include "train/scene_batches.h"
#include "world.h"

namespace orrery {
namespace {

constexpr int64_t kSteps = 20, kBatch = 8;

std::vector<double> losses(const Config& config, Comm& comm) {
  const auto net = test::scene_network(config);
  const LinearTokenizer tokenizer = test::scene_tokenizer(config.tokenizer.channels);
  const auto text = make_text_encoder(config);
  TrainStep step(config, *net, tokenizer, *text, comm);
  const int64_t share = kBatch / comm.size(), begin = share * comm.rank();
  std::vector<double> out;
  for (int64_t i = 0; i < kSteps; ++i)
    out.push_back(step(test::scene_batch(i, begin, begin + share), i).loss);
  return out;
}

void expect_same_curve(const Config& config, double tolerance) {
  const auto alone = losses(config, *single_rank_comm("alone"));
  const auto together = losses(config, test_world().comm());
  for (int64_t i = 0; i < kSteps; ++i)
    EXPECT_NEAR(together[i], alone[i], tolerance * alone[i]) << "step " << i;
  EXPECT_LT(alone.back(), alone.front());
}

TEST(TrainStep, ranks_share_a_batch_without_changing_the_loss_curve_in_float32) {
  expect_same_curve(test::small_config(kSteps, kBatch), 1e-6);
}

TEST(TrainStep, ranks_share_a_batch_without_changing_the_loss_curve_in_float64) {
  Config config = test::small_config(kSteps, kBatch);
  config.numerics.dtype = Dtype::float64;
  expect_same_curve(config, 1e-12);
}

}  // namespace
}  // namespace orrery
