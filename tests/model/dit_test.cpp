#include "model/dit.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "autograd/save_policy.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "model/presets.h"
#include "ops/loss.h"
#include "ops/reduce.h"

namespace orrery {
namespace {

DiTInput random_input(const DiTConfig& c, int64_t frames) {
  DiTInput in;
  in.x = Variable(Rng(1, "x").normal_tensor({2, c.in_channels, frames, 4, 6}));
  in.timesteps = Variable(Rng(1, "t").uniform_tensor({2, frames}) * 1000);
  in.crossattn_emb = Variable(Rng(1, "c").normal_tensor({2, 5, c.text_channels()}));
  in.condition_mask = at::Tensor(Rng(1, "m").uniform_tensor({2, 1, frames, 4, 6}).gt(0.5)).to(at::kFloat);
  return in;
}

void fill_randomly(DiT& net, at::ScalarType type) {
  net.materialize(at::kCPU, type);
  for (Parameter* p : net.parameters()) {
    at::Tensor value = p->value();
    value.copy_(Rng(3, p->key()).normal_tensor(p->shape()) * 0.2);
  }
}

struct StepResult {
  at::Tensor loss;
  std::vector<at::Tensor> grads;
  int64_t held_bytes;
};

StepResult train_once(DiT& net, const DiTInput& in) {
  Recording recording;
  const Variable v = net(in);
  const Variable loss = ops::mean(ops::squared_error(v, Variable(Rng(2, "target").normal_tensor(v.shape()))));
  StepResult run{loss.value(), {}, recording.tape().held_bytes()};
  recording.backward(loss);
  for (Parameter* p : net.parameters()) run.grads.push_back(p->variable().slot()->take());
  return run;
}

TEST(DiT, released_sizes_have_the_published_number_of_parameters) {
  EXPECT_EQ(DiT(dit_preset("2b")).num_parameters(), 2'059'174'912);
  EXPECT_EQ(DiT(dit_preset("14b")).num_parameters(), 14'368'047'104);
  EXPECT_EQ(DiT(dit_preset("2b")).parameters().size(), 569u);
  EXPECT_EQ(DiT(dit_preset("14b")).parameters().size(), 729u);
}

TEST(DiT, recompute_gives_the_same_bits_and_holds_less) {
  DiT net(dit_preset("nano"));
  fill_randomly(net, at::kFloat);
  const DiTInput in = random_input(net.config, 3);
  const StepResult all = train_once(net, in);
  for (const std::vector<std::string>& keep :
       {std::vector<std::string>{}, {"*.attention"}, {"*.mlp.layer1.linear"}}) {
    for (const auto& block : net.blocks) block->save_policy = std::make_shared<SavePolicy>(keep);
    const StepResult some = train_once(net, in);
    EXPECT_TRUE(at::equal(all.loss, some.loss));
    EXPECT_LT(some.held_bytes, all.held_bytes / 2);
    for (size_t i = 0; i < all.grads.size(); ++i)
      EXPECT_TRUE(at::equal(all.grads[i], some.grads[i])) << net.parameters()[i]->key();
  }
}

TEST(DiT, text_projected_beforehand_gives_the_same_bits) {
  DiTConfig config = dit_preset("nano");
  config.use_crossattn_projection = true;
  config.crossattn_proj_in_channels = 160;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    DiT net(config);
    fill_randomly(net, type);
    DiTInput in = random_input(config, 3);
    const at::Tensor wanted = net(in).value();
    in.crossattn_emb = net.project_text(in.crossattn_emb);
    EXPECT_EQ(in.crossattn_emb.size(2), config.crossattn_emb_channels);
    EXPECT_THROW(net(in), Error) << "taken for a text of another width";
    in.text_is_projected = true;
    EXPECT_TRUE(at::equal(net(in).value(), wanted)) << type;
  }
}

TEST(DiT, every_parameter_gets_a_gradient) {
  DiT net(dit_preset("nano"));
  fill_randomly(net, at::kFloat);
  const StepResult run = train_once(net, random_input(net.config, 2));
  for (size_t i = 0; i < run.grads.size(); ++i) {
    ASSERT_TRUE(run.grads[i].defined()) << net.parameters()[i]->key();
    EXPECT_GT(run.grads[i].abs().max().item<double>(), 0) << net.parameters()[i]->key();
  }
}

TEST(DiT, initial_values_depend_on_seed_and_key_alone_and_respect_the_cut) {
  DiT a(dit_preset("nano")), b(dit_preset("nano"));
  a.materialize(at::kCPU, at::kFloat);
  b.materialize(at::kCPU, at::kFloat);
  a.initialize(5);
  b.initialize(5);
  for (size_t i = 0; i < a.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(a.parameters()[i]->value(), b.parameters()[i]->value()));
  const at::Tensor& w = a.blocks[0]->mlp.layer2.weight.value();
  EXPECT_NEAR(w.std().item<double>(), 0.987 / 16, 2e-3);  // std of a normal cut at 3 sigma
  EXPECT_LE(w.abs().max().item<double>(), 3.0 / 16 + 1e-6);
  EXPECT_EQ(a.blocks[0]->adaln_modulation_mlp.up.weight.value().abs().max().item<double>(), 0);
}

TEST(DiT, a_later_slice_of_frames_sees_its_own_positions) {
  DiT net(dit_preset("nano"));
  fill_randomly(net, at::kDouble);
  DiTTrace whole, part;
  DiTInput in = random_input(net.config, 4);
  net.traced(in, whole);
  in.x = Variable(in.x.value().slice(2, 2, 4));
  in.timesteps = Variable(in.timesteps.value().slice(1, 2, 4));
  in.condition_mask = in.condition_mask.slice(2, 2, 4);
  in.first_frame = 2;
  net.traced(in, part);
  EXPECT_TRUE(at::equal(whole.rope.angles.slice(0, 12, 24), part.rope.angles));
}

TEST(DiT, wrong_shapes_are_refused_with_what_was_wanted) {
  DiT net(dit_preset("nano"));
  fill_randomly(net, at::kFloat);
  const auto refuses = [&](const std::function<void(DiTInput&)>& spoil, const char* text) {
    DiTInput in = random_input(net.config, 3);
    spoil(in);
    try {
      net(in);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  refuses([](DiTInput& in) { in.x = Variable(in.x.value().slice(1, 0, 3)); }, "wanted (B,16,T,H,W)");
  refuses([](DiTInput& in) { in.x = Variable(in.x.value().slice(3, 0, 3)); }, "do not divide into patches");
  refuses([](DiTInput& in) { in.timesteps = Variable(in.timesteps.value().slice(1, 0, 2)); }, "timesteps");
  refuses([](DiTInput& in) { in.condition_mask.reset(); }, "condition mask");
  refuses([](DiTInput& in) { in.first_frame = 126; }, "position table");
}

}  // namespace
}  // namespace orrery
