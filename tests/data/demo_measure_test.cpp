#include "data/demo_measure.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"
#include "data/demo_render.h"

namespace orrery {
namespace {

constexpr int64_t kClips = 120;

struct Film {
  at::Tensor frames;  // the first and the last
  DemoTask task;
};

const std::vector<Film>& films() {
  static const std::vector<Film> all = [] {
    std::vector<Film> result;
    for (int64_t clip = 0; clip < kClips; ++clip) {
      const DemoScene scene = draw_demo_scene(11, clip);
      const DemoTask task{scene.color, DemoVerb(clip % kDemoVerbs)};
      const auto states = simulate_demo(scene, task, 17).states;
      result.push_back({render_demo(scene, std::vector{states.front(), states.back()}, 64, 64), task});
    }
    return result;
  }();
  return all;
}

// Share of films judged to obey their own task, or another of the same colour, after a change of the film.
struct Shares {
  double own = 0, other = 0;
};
Shares shares(const std::function<at::Tensor(const at::Tensor&, int64_t)>& change) {
  Shares result;
  for (int64_t clip = 0; clip < kClips; ++clip) {
    const auto& [frames, task] = films()[clip];
    const at::Tensor film = change(frames, clip);
    for (int64_t verb = 0; verb < kDemoVerbs; ++verb) {
      const bool obeyed = judge_demo(film, {task.color, DemoVerb(verb)}).obeyed;
      (DemoVerb(verb) == task.verb ? result.own : result.other) += obeyed;
    }
  }
  return {result.own / kClips, result.other / (2.0 * kClips)};
}

at::Tensor bytes(const at::Tensor& film) {
  return film.round().clamp(0, 255).to(at::kByte);
}

at::Tensor blurred(const at::Tensor& film) {
  const at::Tensor planes = film.to(at::kFloat).permute({0, 3, 1, 2});
  return at::avg_pool2d(planes, 7, 1, 3, false, false).permute({0, 2, 3, 1});
}

at::Tensor noise(const at::Tensor& film, int64_t clip, double level) {
  return level * Rng(clip, "noise").normal_tensor(film.sizes());
}

}  // namespace

TEST(DemoMeasure, true_films_obey_their_prompt_and_no_other) {
  const Shares plain = shares([](const at::Tensor& film, int64_t) { return film; });
  EXPECT_EQ(plain.own, 1);
  EXPECT_EQ(plain.other, 0);
}

TEST(DemoMeasure, stands_blur_noise_and_ghosts) {
  const auto expect_right = [](const char* what, const Shares& found) {
    EXPECT_EQ(found.own, 1) << what;
    EXPECT_EQ(found.other, 0) << what;
  };
  expect_right("blur", shares([](const at::Tensor& film, int64_t) { return bytes(blurred(film)); }));
  expect_right("noise", shares([](const at::Tensor& film, int64_t clip) {
                 return bytes(film.to(at::kFloat) + noise(film, clip, 20));
               }));
  expect_right("blur and noise", shares([](const at::Tensor& film, int64_t clip) {
                 return bytes(blurred(film) + noise(film, clip, 12));
               }));
  expect_right("ghost of the first frame", shares([](const at::Tensor& film, int64_t) {
                 return bytes(0.75 * film.to(at::kFloat) + 0.25 * film[0].to(at::kFloat));
               }));
}

TEST(DemoMeasure, a_film_that_repeats_its_first_frame_or_loses_the_block_is_not_obeyed) {
  const Shares repeated =
      shares([](const at::Tensor& film, int64_t) { return film.narrow(0, 0, 1).expand_as(film); });
  EXPECT_EQ(repeated.own + repeated.other, 0);
  const Shares vanished = shares([](const at::Tensor& film, int64_t) {
    at::Tensor copy = film.clone();
    copy[1].fill_(128);
    return copy;
  });
  EXPECT_EQ(vanished.own + vanished.other, 0);
  const Shares noise_only =
      shares([](const at::Tensor& film, int64_t clip) { return bytes(128 + noise(film, clip, 60)); });
  EXPECT_EQ(noise_only.own + noise_only.other, 0);
}

TEST(DemoMeasure, finds_the_blocks_middle_at_other_sizes) {
  for (const int64_t side : {32, 64, 160}) {
    const DemoScene scene = draw_demo_scene(11, 1);
    const at::Tensor frame = render_demo(scene, std::vector{demo_start(scene)}, side, side + 32)[0];
    const ColorBlob blob = find_color(frame, scene.color);
    EXPECT_NEAR(blob.x, scene.block_x, 0.03);
    EXPECT_NEAR(blob.y, kDemoTable + scene.block_half, 0.05);
    EXPECT_NEAR(blob.mass, 4 * scene.block_half * scene.block_half, 0.04);
  }
}

TEST(DemoMeasure, other_colours_find_nothing_in_the_picture) {
  for (int64_t clip = 0; clip < 40; ++clip) {
    const DemoScene scene = draw_demo_scene(11, clip);
    const at::Tensor frame = render_demo(scene, std::vector{demo_start(scene)}, 64, 64)[0];
    for (int64_t color = 0; color < std::ssize(demo_colors()); ++color) {
      const double mass = find_color(frame, color).mass;
      if (color == scene.color) {
        EXPECT_GT(mass, 0.12);
      } else if (std::abs(color - scene.color) > 1) {
        EXPECT_LT(mass, 0.05) << demo_colors()[color].name << " in a film of "
                              << demo_colors()[scene.color].name;
      }
    }
  }
}

TEST(DemoMeasure, refuses_other_tensors) {
  const Film& film = films()[0];
  EXPECT_THROW(judge_demo(film.frames[0], film.task), Error);
  EXPECT_THROW(judge_demo(film.frames.narrow(0, 0, 1), film.task), Error);
  EXPECT_THROW(judge_demo(film.frames.to(at::kFloat), film.task), Error);
  EXPECT_THROW(find_color(film.frames[0], 99), Error);
}

}  // namespace orrery
