#include "train/step.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <future>

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

TEST(TrainStep, an_input_made_beforehand_on_another_thread_gives_the_same_bits) {
  test::Trainee plain(test::small_config(5, 4)), ahead(test::small_config(5, 4));
  const auto input_of = [&](int64_t step) {
    return std::async(std::launch::async, [&ahead, step] {
      const c10::InferenceMode inference;
      return ahead.step.prepare(test::scene_batch(step, 0, 4), step);
    });
  };
  std::future<StepInput> next = input_of(0);
  for (int64_t step = 0; step < 5; ++step) {
    const StepInput mine = next.get();
    EXPECT_TRUE(mine.text.defined()) << "hashes need no network";
    EXPECT_EQ(mine.clips, 4);
    if (step < 4) next = input_of(step + 1);
    EXPECT_EQ(ahead.step.run(mine, step).loss, plain.train(step, step + 1)) << "step " << step;
  }
  test::expect_same_weights(plain, ahead);
}

TEST(TrainStep, captions_that_a_network_encodes_wait_for_the_step) {
  struct Network final : TextEncoder {
    explicit Network(const TextEncoder& text) : words(text) {}
    at::Tensor encode(const std::vector<std::string>& prompts) const override {
      ++calls;
      return words.encode(prompts);
    }
    int64_t tokens() const override { return words.tokens(); }
    int64_t channels() const override { return words.channels(); }
    std::string identity() const override { return words.identity(); }
    const TextEncoder& words;
    mutable int64_t calls = 0;
  };
  test::Trainee plain(test::small_config(2, 4)), other(test::small_config(2, 4));
  const Network network(*other.text);
  TrainStep step(other.config, other.net(), other.model.parallel, other.mesh, other.tokenizer, network);
  const StepInput input = step.prepare(test::scene_batch(0, 0, 4), 0);
  EXPECT_EQ(network.calls, 0);
  EXPECT_FALSE(input.text.defined());
  EXPECT_EQ(step.run(input, 0).loss, plain.train(0, 1));
  EXPECT_EQ(network.calls, 1);
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
