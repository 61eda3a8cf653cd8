#include "infer/encode_films.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "data/media_folder.h"
#include "model/linear_tokenizer.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LinearTokenizer small_tokenizer() {
  constexpr int64_t kBlock = LinearTokenizer::kBlock;
  return LinearTokenizer(
      {at::eye(kBlock).narrow(1, 0, 2).contiguous(), at::zeros({kBlock}), at::ones({2}), 0});
}

// As weights that are wrong may give: one number in a window is none, or too large.
struct BrokenTokenizer final : VideoTokenizer {
  explicit BrokenTokenizer(double bad) : bad(bad) {}
  at::Tensor encode(const at::Tensor& video) const override {
    const at::Tensor latents = linear.encode(video);
    latents[0][1][0][2][3] = bad;
    return latents;
  }
  at::Tensor decode(const at::Tensor& latents) const override { return linear.decode(latents); }
  int64_t channels() const override { return linear.channels(); }
  int64_t temporal_factor() const override { return linear.temporal_factor(); }
  int64_t spatial_factor() const override { return linear.spatial_factor(); }
  const LinearTokenizer linear = small_tokenizer();
  const double bad;
};

// Films of 5 to 9 frames, cut into clips of 5.
class EncodeFilms : public testing::Test {
 protected:
  EncodeFilms() {
    for (int64_t i = 0; i < kFilms; ++i) films.add(i, 5 + i);
    config.data.path = films.path().string();
    config.data.frames = 5;
    config.data.height = 32;
    config.data.width = 48;
    config.data.workers = 2;
  }
  EncodeReport encode(const std::string& name, int64_t ranks, int64_t windows = 2) {
    const std::filesystem::path folder = scratch / name;
    ShardCache::prepare(folder, {});
    const auto cache = std::make_shared<const ShardCache>(folder);
    const DataSets sets = open_data(config.data);
    EncodeReport sum;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const EncodeJob job{.films = films_to_encode(config.data, sets, cache),
                          .folder = folder,
                          .first_shard = cache->next_shard(),
                          .windows = windows,
                          .films_per_shard = 2,
                          .rank = rank,
                          .ranks = ranks};
      const EncodeReport part = encode_films(config, sets, *tokenizer, job, [](int64_t) {});
      sum.films += part.films;
      sum.windows += part.windows;
      sum.bad.insert(sum.bad.end(), part.bad.begin(), part.bad.end());
    }
    return sum;
  }
  std::map<std::string, std::string> files(const std::string& name) const {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(scratch / name))
      if (entry.is_regular_file())
        out[std::filesystem::relative(entry.path(), scratch / name).string()] = test::read_file(entry.path());
    return out;
  }
  static constexpr int64_t kFilms = 5;
  test::FilmFolder films;
  test::ScratchFolder scratch;
  Config config;
  const LinearTokenizer linear = small_tokenizer();
  const VideoTokenizer* tokenizer = &linear;
};

TEST_F(EncodeFilms, each_window_is_stored_as_the_tokenizer_gives_it) {
  const EncodeReport report = encode("cache", 1);
  EXPECT_EQ(report.films, kFilms);
  EXPECT_EQ(report.windows, 2 * kFilms - 1);  // the first film has one clip
  const ShardCache cache(scratch / "cache");
  const DataSets sets = open_data(config.data);
  for (int64_t i = 0; i < kFilms; ++i) {
    const auto& entry = cache.items().at(item_name(FilmsOf::videos, sets.train->file(i)));
    const FilmLatents film = film_latents(entry.about, "cache");
    const at::Tensor latents = cache.tensor(entry, "latents");
    for (size_t w = 0; w < film.first_frames.size(); ++w) {
      const Clip clip = sets.train->clip(i, film.first_frames[w]);
      EXPECT_TRUE(at::equal(latents[static_cast<int64_t>(w)].to(at::kFloat),
                            linear.encode(clip.video.unsqueeze(0))[0]));
    }
  }
}

TEST_F(EncodeFilms, ranks_share_the_films_and_write_what_one_would) {
  encode("one", 1);
  for (const int64_t ranks : {2, 3, 4}) {
    const std::string name = "ranks" + std::to_string(ranks);
    EXPECT_EQ(encode(name, ranks).films, kFilms);
    EXPECT_EQ(files(name), files("one"));
  }
}

TEST_F(EncodeFilms, a_second_job_encodes_what_is_not_there) {
  encode("cache", 1);
  EXPECT_EQ(encode("cache", 1).films, 0);
  films.add(2, 8);
  films.add(kFilms, 6);
  EXPECT_EQ(encode("cache", 2).films, 2);
  EXPECT_EQ(encode("cache", 1).films, 0);
}

TEST_F(EncodeFilms, latents_that_are_not_finite_end_it_and_are_not_stored) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    const BrokenTokenizer broken(bad);
    tokenizer = &broken;
    try {
      encode("cache", 1);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("0000.mp4"), HasSubstr("frame 0 on"),
                                               HasSubstr("tokenizer.weights")));
    }
    EXPECT_TRUE(ShardCache(scratch / "cache").items().empty());
  }
}

TEST_F(EncodeFilms, bad_films_are_named_and_too_many_end_it) {
  films.add_bad(1);
  config.data.max_bad_fraction = 0.2;
  const EncodeReport report = encode("cache", 1);
  EXPECT_EQ(report.films, kFilms - 1);
  ASSERT_EQ(report.bad.size(), 1u);
  EXPECT_EQ(report.bad[0].name, "0001.mp4");
  EXPECT_EQ(ShardCache(scratch / "cache").items().size(), 4u);
  films.add_bad(3);
  try {
    encode("other", 1);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_data);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("0001.mp4"), HasSubstr("0003.mp4")));
  }
  EXPECT_EQ(ShardCache(scratch / "other").items().size(), 1u);  // the first shard, less its bad film
}

}  // namespace
}  // namespace orrery
