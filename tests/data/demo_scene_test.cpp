#include "data/demo_scene.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/rng.h"
#include "data/demo_render.h"

namespace orrery {
namespace {

DemoTask task_of(const DemoScene& scene, int64_t clip) {
  return {scene.color, DemoVerb(clip % kDemoVerbs)};
}

double rest_height(const DemoScene& scene) {
  return kDemoTable + scene.block_half;
}

}  // namespace

TEST(DemoScene, the_arm_does_what_the_task_says_whatever_the_number_of_frames) {
  for (const int64_t frames : {2, 5, 9, 17, 33, 93})
    for (int64_t clip = 0; clip < 60; ++clip) {
      const DemoScene scene = draw_demo_scene(1, clip);
      const DemoTask task = task_of(scene, clip);
      const DemoEpisode episode = simulate_demo(scene, task, frames);
      ASSERT_EQ(std::ssize(episode.states), frames);
      EXPECT_FALSE(demo_done(scene, task, episode.states.front()));
      const DemoState& end = episode.states.back();
      EXPECT_TRUE(demo_done(scene, task, end)) << frames << " frames, clip " << clip;
      EXPECT_LT(std::abs(end.x) + scene.block_half, 1) << "the block left the picture, clip " << clip;
      EXPECT_EQ(end.held, task.verb == DemoVerb::lift);
      EXPECT_NEAR(end.time, kDemoSeconds, 1e-12);
    }
}

TEST(DemoScene, actions_take_each_state_to_the_next_exactly) {
  const DemoScene scene = draw_demo_scene(3, 4);
  for (const int64_t frames : {5, 17}) {
    const DemoEpisode episode = simulate_demo(scene, task_of(scene, 4), frames);
    const double dt = kDemoSeconds / static_cast<double>((frames - 1) * demo_control_steps(frames));
    for (int64_t t = 0; t < frames; ++t) {
      DemoState state = episode.states[t];
      for (const DemoAction& action : episode.actions[t]) state = demo_step(scene, state, action, dt);
      EXPECT_EQ(state, t + 1 < frames ? episode.states[t + 1] : episode.after) << "frame " << t;
    }
  }
}

TEST(DemoScene, films_of_other_lengths_show_the_same_motion) {
  const DemoScene scene = draw_demo_scene(5, 1);
  const auto states = [&](int64_t frames) {
    return simulate_demo(scene, {scene.color, DemoVerb::push_right}, frames).states;
  };
  const auto five = states(5), seventeen = states(17), thirty_three = states(33);
  for (int64_t t = 0; t < 5; ++t) EXPECT_EQ(five[t], seventeen[4 * t]);
  for (int64_t t = 0; t < 17; ++t) EXPECT_NEAR(seventeen[t].x, thirty_three[2 * t].x, 0.05);
}

TEST(DemoScene, a_pushed_block_slides_on_and_comes_to_rest) {
  DemoScene scene;
  DemoState state = demo_start(scene);
  state.vx = 1;
  const DemoState later = demo_step(scene, state, {0, 0, 0}, 0.1);
  EXPECT_GT(later.x, 0);
  EXPECT_LT(later.vx, 1);
  for (int i = 0; i < 20; ++i) state = demo_step(scene, state, {0, 0, 0}, 0.1);
  EXPECT_EQ(state.vx, 0);
  EXPECT_GT(state.x, 0.15);
  EXPECT_LT(state.x, 0.25);  // 1^2 / (2 * 2.6) by Coulomb friction
}

TEST(DemoScene, a_released_block_falls_to_the_table) {
  const DemoScene scene = draw_demo_scene(2, 2);
  DemoState state = simulate_demo(scene, {scene.color, DemoVerb::lift}, 17).after;
  ASSERT_EQ(state.held, 1);
  ASSERT_GT(state.y, rest_height(scene) + kDemoDone);
  for (int i = 0; i < 10; ++i) state = demo_step(scene, state, {0, 0, 0.1}, 0.1);
  EXPECT_EQ(state.held, 0);
  EXPECT_EQ(state.y, rest_height(scene));
}

TEST(DemoScene, wild_actions_keep_hand_and_block_out_of_the_table_and_of_each_other) {
  const DemoScene scene = draw_demo_scene(7, 0);
  DemoState state = demo_start(scene);
  Rng rng(1, "wild");
  for (int i = 0; i < 3000; ++i) {
    if (i % 50 == 0) state = demo_start(scene);
    const double last_x = state.x;
    state = demo_step(scene, state, {rng.normal() * 0.5, rng.normal() * 0.5, rng.normal() * 0.2}, 0.1);
    EXPECT_GE(demo_arm(state).tip.y, kDemoTable - 1e-9);
    EXPECT_GE(state.y, rest_height(scene) - 1e-9);
    EXPECT_GE(state.gap, 0);
    EXPECT_LE(state.gap, kDemoMaxGap);
    EXPECT_LE(std::abs(state.x - last_x), 2.0) << "the block was flung at step " << i;
  }
  EXPECT_THROW(demo_step(scene, state, {std::nan(""), 0, 0}, 0.1), Error);
  EXPECT_THROW(demo_step(scene, state, {0, 0, 0}, 0), Error);
}

TEST(DemoScene, a_hand_that_comes_down_on_the_block_stops_on_it) {
  DemoScene scene;
  scene.hand_y = 0;
  DemoState state = demo_start(scene);
  state.gap = 0.05;
  for (int i = 0; i < 20; ++i) state = demo_step(scene, state, {-0.05, 0.1, 0}, 0.05);  // lowers the hand
  EXPECT_GE(demo_arm(state).tip.y, kDemoTable + 2 * scene.block_half);
  EXPECT_EQ(state.x, 0);
}

TEST(DemoScene, clips_differ_and_a_seed_repeats) {
  const DemoScene a = draw_demo_scene(1, 1), b = draw_demo_scene(1, 1), c = draw_demo_scene(1, 2),
                  d = draw_demo_scene(2, 1);
  EXPECT_EQ(a.block_x, b.block_x);
  EXPECT_NE(a.block_x, c.block_x);
  EXPECT_NE(a.block_x, d.block_x);
}

TEST(DemoRender, the_first_frame_does_not_tell_the_verb) {
  const DemoScene scene = draw_demo_scene(1, 3);
  const auto film = [&](DemoVerb verb) {
    return render_demo(scene, simulate_demo(scene, {scene.color, verb}, 17).states, 64, 64);
  };
  const at::Tensor left = film(DemoVerb::push_left), right = film(DemoVerb::push_right),
                   lift = film(DemoVerb::lift);
  EXPECT_TRUE(at::equal(left[0], right[0]) && at::equal(left[0], lift[0]));
  EXPECT_FALSE(at::equal(left[16], right[16]) || at::equal(left[16], lift[16]));
}

TEST(DemoRender, a_large_picture_averaged_equals_a_small_one) {
  const DemoScene scene = draw_demo_scene(1, 5);
  const std::vector<DemoState> states = {demo_start(scene)};
  const at::Tensor small = render_demo(scene, states, 64, 96).to(at::kFloat);
  const at::Tensor large = render_demo(scene, states, 256, 384).to(at::kFloat);
  const at::Tensor mean = large.view({1, 64, 4, 96, 4, 3}).mean(at::IntArrayRef{2, 4});
  EXPECT_LT((small - mean).abs().mean().item<double>(), 0.8);
  EXPECT_LT((small - mean).abs().max().item<double>(), 40);
}

TEST(DemoRender, refuses_impossible_sizes) {
  const DemoScene scene;
  const std::vector<DemoState> states = {demo_start(scene)};
  EXPECT_THROW(render_demo(scene, states, 8, 64), Error);
  EXPECT_THROW(render_demo(scene, states, 64, int64_t{1} << 40), Error);
  EXPECT_THROW(simulate_demo(scene, {}, 1), Error);
}

}  // namespace orrery
