// The branches of guidance share the first self-attention, and nothing else of them changes.
#include "infer/first_attention.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "flow/generate.h"
#include "infer/context_denoiser.h"
#include "infer/small_model.h"

namespace orrery {
namespace {

class FirstAttentionTest : public testing::Test {
 protected:
  // Counts the calls of each block's attention.
  FirstAttentionTest() {
    for (size_t i = 0; i < model_.net.blocks.size(); ++i)
      model_.net.blocks[i]->self_attn.attention =
          deferred([this, i](const Variable& q, const Variable& k, const Variable& v) {
            ++calls_.at(i);
            return ops::attention(q, k, v);
          });
    denoiser_ = context_denoiser(model_.net, *alone_, 1, TextForm::projected);
  }
  at::Tensor velocity(uint64_t x, uint64_t text, std::shared_ptr<const void> input) {
    flow::DenoiserInput in;
    in.x = Variable(Rng(1, "x", {x}).normal_tensor({1, 8, 4, 4, 4}).to(at::kFloat));
    in.timesteps = Variable(at::ones({1, 1}) * 300);
    in.condition_mask = at::ones({1, 1, 4, 4, 4}) * 0;
    in.text =
        Rng(1, "text", {text}).normal_tensor({1, 5, model_.net.config.crossattn_emb_channels}).to(at::kFloat);
    in.apart_from_text = std::move(input);
    const NoRecording guard;
    return denoiser_(in).value();
  }

  test::SmallModel model_{test::small_config(Dtype::float32)};
  std::unique_ptr<Comm> alone_ = single_rank_comm("alone");
  std::vector<int> calls_ = std::vector<int>(model_.net.blocks.size());
  flow::Denoiser denoiser_;
};

TEST_F(FirstAttentionTest, a_second_branch_takes_it_over_and_keeps_its_bits) {
  const at::Tensor cond = velocity(1, 1, nullptr), uncond = velocity(1, 2, nullptr);
  EXPECT_FALSE(at::equal(cond, uncond)) << "text that does nothing proves nothing";
  EXPECT_EQ(calls_, std::vector<int>(calls_.size(), 2));
  const auto input = std::make_shared<char>();
  EXPECT_TRUE(at::equal(velocity(1, 1, input), cond));
  EXPECT_TRUE(at::equal(velocity(1, 2, input), uncond));
  std::vector<int> want(calls_.size(), 4);
  want[0] = 3;
  EXPECT_EQ(calls_, want);
}

TEST_F(FirstAttentionTest, other_inputs_do_not_see_it) {
  const at::Tensor want = velocity(2, 1, nullptr);
  velocity(1, 1, std::make_shared<char>());
  EXPECT_TRUE(at::equal(velocity(2, 1, std::make_shared<char>()), want));
  EXPECT_TRUE(at::equal(velocity(2, 1, nullptr), want));
  EXPECT_EQ(calls_[0], 4);
}

// Through generation: two branches a step, one after the other, or each where it is asked for.
TEST_F(FirstAttentionTest, is_shared_by_the_branches_of_a_step_unless_they_are_elsewhere) {
  const int64_t channels = model_.net.config.crossattn_emb_channels;
  flow::GenerateInput in;
  in.noise = Rng(1, "noise", {1}).normal_tensor({1, 8, 4, 4, 4}).to(at::kFloat);
  in.text = Rng(1, "text", {1}).normal_tensor({1, 5, channels}).to(at::kFloat);
  const flow::GenerateConfig config{.steps = 2, .guidance = 3, .condition_frames = 0};
  const at::Tensor shared = flow::generate_latent(config, denoiser_, in);
  ASSERT_EQ(calls_[1] % 2, 0);
  EXPECT_EQ(2 * calls_[0], calls_[1]);
  const int whole = calls_[1];
  calls_.assign(calls_.size(), 0);
  in.branches = [](const auto& each, const at::Tensor& text, const at::Tensor& negative) {
    return flow::Branches{.cond = each(text), .uncond = each(negative)};
  };
  EXPECT_TRUE(at::equal(flow::generate_latent(config, denoiser_, in), shared));
  EXPECT_EQ(calls_[0], whole);
}

}  // namespace
}  // namespace orrery
