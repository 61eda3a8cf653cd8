// Films of requests on one rank: what decides them, their lengths, and what a failing one does to a batch.
#include "infer/film_maker.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "infer/film_batch.h"
#include "infer/small_model.h"
#include "media/encode.h"
#include "one_thread.h"

namespace orrery {
namespace {

using test::small_request;

class FilmMakerTest : public testing::Test {
 protected:
  at::Tensor make(const FilmRequest& request, int64_t seed = 3) {
    return maker_(request, seed, test::small_input());
  }

  const test::OneThread threads_;
  test::SmallModel model_{test::small_config(Dtype::float32)};
  std::unique_ptr<Comm> one_ = single_rank_comm("alone");
  FilmMaker maker_ = model_.maker({one_.get(), one_.get(), one_.get()});
};

TEST_F(FilmMakerTest, seed_prompt_guidance_steps_and_negative_prompt_decide_the_film) {
  const FilmRequest request = small_request(InferenceType::image2world);
  const at::Tensor film = make(request);
  EXPECT_EQ(film.sizes(), (at::IntArrayRef{13, 32, 32, 3}));
  EXPECT_TRUE(at::equal(make(request), film));
  EXPECT_FALSE(at::equal(make(request, 4), film));
  const auto change = [&](auto edit) {
    FilmRequest other = request;
    edit(other);
    return !at::equal(make(other), film);
  };
  EXPECT_TRUE(change([](FilmRequest& r) { r.prompt = "lift"; }));
  EXPECT_TRUE(change([](FilmRequest& r) { r.negative_prompt = "lift"; }));
  EXPECT_TRUE(change([](FilmRequest& r) { r.guidance = 2; }));
  EXPECT_TRUE(change([](FilmRequest& r) { r.num_steps = 2; }));
  EXPECT_TRUE(change([](FilmRequest& r) { r.type = InferenceType::video2world; }));
}

TEST_F(FilmMakerTest, a_request_may_have_a_size_of_its_own) {
  FilmRequest request = small_request(InferenceType::text2world);
  request.height = 16;
  request.width = 48;
  EXPECT_EQ(make(request).sizes(), (at::IntArrayRef{13, 16, 48, 3}));
}

TEST_F(FilmMakerTest, a_long_film_is_its_chunks_one_after_the_other) {
  FilmRequest request = small_request(InferenceType::image2world);
  request.enable_autoregressive = true;
  request.num_output_frames = 30;
  request.chunk_size = 13;
  const at::Tensor film = make(request, 5);
  ASSERT_EQ(film.size(0), 30);
  // The second chunk alone, from the last frame of the first, with the next seed.
  FilmRequest next = small_request(InferenceType::image2world);
  const at::Tensor second = maker_(next, 6, film.slice(0, 12, 13).contiguous());
  EXPECT_TRUE(at::equal(film.slice(0, 13, 25), second.slice(0, 1)));
}

TEST_F(FilmMakerTest, a_model_of_single_images_makes_one_frame) {
  Config config = test::small_config(Dtype::float32);
  config.data.frames = 1;
  test::SmallModel model(config);
  FilmMaker maker = model.maker({one_.get(), one_.get(), one_.get()});
  EXPECT_EQ(maker(small_request(InferenceType::text2world), 1, {}).sizes(), (at::IntArrayRef{1, 32, 32, 3}));
}

class FilmBatchTest : public FilmMakerTest {
 protected:
  FilmBatchTest() {
    for (const char* name : {"one", "two", "three"}) {
      FilmRequest r = small_request(InferenceType::image2world);
      r.name = name;
      r.where = name;
      r.input_path = folder_ / (std::string(name) + ".png");
      write_png(r.input_path, test::small_input()[0]);
      requests_.push_back(r);
    }
    out_ = std::make_unique<FilmFolder>(folder_ / "out", requests_, 1, FilmFolderOptions{});
    out_->prepare();
  }
  std::vector<std::string> run(bool keep_going) {
    return make_films(*out_, requests_, {{0, 1}, {1, 1}, {2, 1}}, maker_, *one_, {.keep_going = keep_going});
  }
  bool is_there(size_t item) { return out_->is_finished(out_->items()[item], 1); }

  test::ScratchFolder folder_;
  std::vector<FilmRequest> requests_;
  std::unique_ptr<FilmFolder> out_;
};

TEST_F(FilmBatchTest, a_film_that_fails_is_told_and_the_others_are_made) {
  std::filesystem::remove(requests_[1].input_path);
  const auto failures = run(true);
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0], testing::AllOf(testing::HasSubstr("sample two"), testing::HasSubstr("two.png")));
  EXPECT_TRUE(is_there(0));
  EXPECT_FALSE(is_there(1));
  EXPECT_TRUE(is_there(2));
  out_->refresh_gallery(true);
  EXPECT_THAT(test::read_file(folder_ / "out/index.html"),
              testing::AllOf(testing::HasSubstr("2 of 3 films"), testing::HasSubstr("1 failed")));
}

TEST_F(FilmBatchTest, without_keep_going_the_first_failure_ends_it) {
  std::filesystem::remove(requests_[1].input_path);
  EXPECT_THROW(run(false), Error);
  EXPECT_TRUE(is_there(0));
  EXPECT_FALSE(is_there(2));
}

TEST_F(FilmBatchTest, a_film_in_whose_place_nothing_can_be_written_fails_alone) {
  std::filesystem::create_directory(folder_ / "out/two.mp4");
  EXPECT_EQ(run(true).size(), 1u);
  EXPECT_TRUE(is_there(2));
}

}  // namespace
}  // namespace orrery
