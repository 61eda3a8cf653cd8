#include "metrics/compare_films.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool3d.h>
#include <ATen/ops/cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/demo_render.h"
#include "fixtures.h"
#include "media/codecs.h"
#include "media/encode.h"
#include "metrics/psnr.h"
#include "metrics/ssim.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

at::Tensor scene(uint64_t number, int64_t frames) {
  const DemoScene scene = draw_demo_scene(0, static_cast<int64_t>(number));
  return render_demo(scene, simulate_demo(scene, {scene.color, DemoVerb(0)}, frames).states, 32, 40);
}

at::Tensor stored(const std::filesystem::path& path) {
  VideoFile file(path);
  return file.read(0, file.frames());
}

class CompareFilms : public testing::Test {
 protected:
  void SetUp() override {
    if (ffmpeg_version().empty()) GTEST_SKIP() << "built without FFmpeg";
    for (const char* name : {"a", "b/videos"}) std::filesystem::create_directories(scratch_ / name);
  }
  void write(const std::string& name, const at::Tensor& frames, int crf = 18) {
    write_mp4(scratch_ / name, frames, {.crf = crf});
  }
  std::vector<FilmPair> pairs() { return pair_films(scratch_ / "a", scratch_ / "b"); }
  const test::ScratchFolder scratch_;
};

}  // namespace

TEST_F(CompareFilms, pairs_films_by_name_and_measures_all_but_the_given_frames) {
  write("a/one.mp4", scene(0, 21), 40);
  write("a/two.mp4", scene(1, 5));
  write("b/videos/one.mp4", scene(0, 21));
  write("b/videos/two.mp4", scene(1, 5));
  write("b/videos/three.mp4", scene(2, 5));  // more truth than films
  ASSERT_EQ(pairs().size(), 2U);
  EXPECT_EQ(pairs()[0].name, "one");
  check_pairs(pairs(), {});
  const FilmQuality one = compare_films(pairs()[0], {}), two = compare_films(pairs()[1], {});
  const at::Tensor film = stored(scratch_ / "a/one.mp4").slice(0, 1);
  const at::Tensor truth = stored(scratch_ / "b/videos/one.mp4").slice(0, 1);
  EXPECT_EQ(one.frames, 20);
  EXPECT_NEAR(one.psnr_db, psnr(film, truth).mean().item<double>(), 1e-9);
  EXPECT_NEAR(one.psnr_grey_db, psnr(grey_of(film), grey_of(truth)).mean().item<double>(), 1e-9);
  EXPECT_NEAR(one.ssim, ssim(grey_of(film), grey_of(truth)).mean().item<double>(), 1e-12);
  EXPECT_FALSE(one.latent_l2);
  EXPECT_NEAR(two.psnr_db, 99, 1e-9);
  EXPECT_NEAR(two.ssim, 1, 1e-12);
  const FilmQuality mean = mean_of({one, two});
  EXPECT_EQ(mean.frames, 24);
  EXPECT_NEAR(mean.psnr_db, (one.psnr_db + 99) / 2, 1e-9);
}

TEST_F(CompareFilms, latents_leave_out_those_that_hold_given_frames) {
  write("a/one.mp4", scene(0, 13), 40);
  write("b/one.mp4", scene(0, 13));
  // Latent frame t is the mean of its film frames: 0 alone, then four each.
  const LatentsOf latents = [](const at::Tensor& video) {
    EXPECT_EQ(video.sizes(), at::IntArrayRef({1, 3, 13, 32, 40}));
    const at::Tensor x = video.to(at::kFloat);
    return at::cat({x.slice(2, 0, 1), at::avg_pool3d(x.slice(2, 1), {4, 1, 1}, {4, 1, 1})}, 2);
  };
  for (const auto& [skip, first] : {std::pair{1, 1}, std::pair{4, 2}, std::pair{5, 2}, std::pair{6, 3}}) {
    SCOPED_TRACE(skip);
    CompareOptions options{.frames = 0, .skip = skip, .latents = latents};
    const FilmPair pair{"one", scratch_ / "a/one.mp4", scratch_ / "b/one.mp4"};
    const auto pooled = [&](const std::filesystem::path& path) {
      return latents(stored(path).permute({3, 0, 1, 2}).unsqueeze(0)).slice(2, first);
    };
    const double expected =
        (pooled(pair.film) - pooled(pair.truth)).to(at::kDouble).square().mean().item<double>();
    EXPECT_NEAR(compare_films(pair, options).latent_l2.value(), expected, 1e-6 * expected);
  }
}

TEST_F(CompareFilms, films_without_truth_and_two_of_one_name_are_refused) {
  EXPECT_THAT([&] { pairs(); }, ThrowsMessage<Error>(HasSubstr("no films")));
  write("a/one.mp4", scene(0, 5));
  EXPECT_THAT([&] { pairs(); }, ThrowsMessage<Error>(HasSubstr("no film of the name of one.mp4")));
  write("b/videos/one.mp4", scene(0, 5));
  write("b/videos/one.mov", scene(0, 5));
  EXPECT_THAT([&] { pairs(); }, ThrowsMessage<Error>(HasSubstr("wanted one film of a name")));
  EXPECT_THAT([&] { pair_films(scratch_ / "a", scratch_ / "c"); },
              ThrowsMessage<Error>(HasSubstr("no such folder")));
}

TEST_F(CompareFilms, all_pairs_that_cannot_be_compared_are_named_at_once) {
  write("a/long.mp4", scene(0, 9));
  write("b/videos/long.mp4", scene(0, 5));
  write("a/small.mp4", scene(0, 5).slice(1, 0, 16));
  write("b/videos/small.mp4", scene(0, 5));
  write("a/broken.mp4", scene(0, 5));
  test::write_file(scratch_ / "b/videos/broken.mp4", "no film");
  const auto complaint = [&](const CompareOptions& options) {
    try {
      check_pairs(pairs(), options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(complaint({}),
              testing::AllOf(HasSubstr("long: 9 frames and in truth 5"),
                             HasSubstr("small: 16x40 and in truth 32x40"), HasSubstr("broken")));
  EXPECT_THAT(complaint({.frames = 5, .skip = 1, .latents = {}}), testing::Not(HasSubstr("long")));
  EXPECT_THAT(complaint({.frames = 6, .skip = 1, .latents = {}}), HasSubstr("long: 9 frames and in truth 5"));
  EXPECT_THAT(complaint({.frames = 5, .skip = 5, .latents = {}}), HasSubstr("which leaves none"));
}

}  // namespace orrery
