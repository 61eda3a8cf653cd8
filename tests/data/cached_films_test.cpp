// Films in a cache and films that are not, in one stream.
#include "data/cached_films.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "data/loader.h"
#include "data/media_folder.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kFilms = 3, kFrames = 9;

// Three films of 9 frames, cut into clips of 5; latents (1,2,4,6) that hold film + window / 10.
class CachedFilmsTest : public testing::Test {
 protected:
  CachedFilmsTest() {
    for (int64_t i = 0; i < kFilms; ++i) films.add(i, kFrames);
    ShardCache::prepare(folder(), {});
  }
  std::filesystem::path folder() const { return scratch / "cache"; }
  std::shared_ptr<const VideoFolder> open(int64_t frames = 5) const {
    return std::make_shared<VideoFolder>(list_films(films.path()),
                                         ClipOptions{.frames = frames, .sizes = {{32, 48}}});
  }
  void store(const std::vector<int64_t>& which, int64_t shard = 0, int64_t windows = 0) const {
    const auto data = open();
    std::vector<CacheItem> items;
    for (const int64_t i : which) {
      FilmLatents film{
          .file = file_state(data->file(i).film),
          .shape = data->shape(i),
          .first_frames = window_starts(data->num_starts(i), windows),
          .clip = {.fps = 10, .source_frames = kFrames, .source_height = 32, .source_width = 48}};
      const auto count = static_cast<int64_t>(film.first_frames.size());
      at::Tensor latents = at::ones({count, 1, 2, 4, 6}) * static_cast<double>(i);
      for (int64_t w = 0; w < count; ++w) latents[w] += static_cast<double>(w) / 10;
      items.push_back({item_name(FilmsOf::videos, data->file(i)), about_text(film), {{"latents", latents}}});
    }
    ShardCache::write(folder(), shard, items);
  }
  CachedFilms cached(int64_t frames = 5) const {
    return {open(frames), std::make_shared<const ShardCache>(folder()), FilmsOf::videos, 2};
  }
  static std::vector<std::string> lines(const CachedFilms& data) {
    std::vector<std::string> out;
    for (const CacheMiss& miss : data.misses()) out.push_back(miss.name + ": " + miss.reason);
    return out;
  }
  test::FilmFolder films;
  test::ScratchFolder scratch;
};

TEST_F(CachedFilmsTest, where_all_windows_are_stored_the_same_ones_are_chosen_as_from_the_films) {
  store({0, 1, 2});
  const auto plain = open();
  const CachedFilms data = cached();
  EXPECT_THAT(data.misses(), IsEmpty());
  EXPECT_EQ(data.size(), plain->size());
  for (uint64_t n = 0; n < 20; ++n) {
    const Rng rng(4, "clip", {n});
    const auto film = static_cast<int64_t>(n % kFilms);
    const Clip stored = data.item(film, rng), decoded = plain->item(film, rng);
    EXPECT_EQ(stored.first_frame, decoded.first_frame);
    EXPECT_EQ(stored.caption, decoded.caption);
    EXPECT_EQ(stored.source, decoded.source);
    EXPECT_EQ(stored.fps, decoded.fps);
    EXPECT_FALSE(stored.video.defined());
    EXPECT_TRUE(at::equal(
        stored.latents,
        at::full({1, 2, 4, 6}, static_cast<double>(film) + static_cast<double>(stored.first_frame) / 10,
                 at::kFloat)));
  }
}

TEST_F(CachedFilmsTest, films_that_changed_or_are_not_there_come_from_their_files) {
  store({0, 1});
  films.add(1, kFrames + 1);
  const CachedFilms data = cached();
  EXPECT_THAT(lines(data), ElementsAre("0001.mp4: its file has changed since it was encoded",
                                       "0002.mp4: not in the cache"));
  const Rng rng(4, "clip", {1});
  EXPECT_TRUE(data.item(0, rng).latents.defined());
  for (const int64_t film : {1, 2}) {
    EXPECT_FALSE(data.item(film, rng).latents.defined());
    EXPECT_TRUE(data.item(film, rng).video.defined());
  }
  store({1}, 1);  // encoded anew
  EXPECT_THAT(lines(cached()), ElementsAre("0002.mp4: not in the cache"));
}

TEST_F(CachedFilmsTest, a_copy_with_another_time_is_the_same_film_and_other_contents_are_not) {
  store({0, 1, 2});
  using namespace std::chrono_literals;
  const auto touch = [&](int64_t film) {
    std::filesystem::last_write_time(films.film(film),
                                     std::filesystem::last_write_time(films.film(film)) + 10s);
  };
  touch(0);
  std::string bytes = test::read_file(films.film(1));
  bytes[bytes.size() / 2] ^= 1;
  test::write_file(films.film(1), bytes);
  touch(1);
  EXPECT_THAT(lines(cached()), ElementsAre("0001.mp4: its file has changed since it was encoded"));
}

TEST_F(CachedFilmsTest, clips_of_another_shape_come_from_the_films) {
  store({0, 1, 2});
  EXPECT_THAT(lines(cached(9)), testing::Each(HasSubstr("another shape")));
}

TEST_F(CachedFilmsTest, a_film_without_its_caption_is_bad_as_ever) {
  store({0});
  std::filesystem::remove(films.caption(0));
  try {
    cached().item(0, Rng(1, "x"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("0000.txt"));
  }
}

// The order, the windows and the captions of a mixed stream are those of the films alone.
TEST_F(CachedFilmsTest, batches_mix_both_in_the_order_of_the_films) {
  store({0, 2});
  const auto batches = [&](std::shared_ptr<const Dataset> data, int64_t start) {
    Loader loader({{std::move(data), 4, 1}},
                  {.seed = 5, .workers = 2, .start_step = start, .max_bad_fraction = 0});
    std::vector<Batch> out;
    for (int64_t step = start; step < 4; ++step) out.push_back(loader.next());
    return out;
  };
  const auto plain = batches(open(), 0), mixed = batches(std::make_shared<CachedFilms>(cached()), 0);
  for (size_t b = 0; b < plain.size(); ++b) {
    EXPECT_EQ(mixed[b].films, plain[b].films);
    EXPECT_EQ(mixed[b].first_frames, plain[b].first_frames);
    EXPECT_EQ(mixed[b].captions, plain[b].captions);
    for (size_t i = 0; i < mixed[b].films.size(); ++i) {
      EXPECT_EQ(mixed[b].latents[i].defined(), mixed[b].films[i] != 1);
      const auto slot = static_cast<int64_t>(i);
      if (!mixed[b].latents[i].defined()) {
        EXPECT_TRUE(at::equal(mixed[b].video[slot], plain[b].video[slot]));
      }
    }
  }
  const auto resumed = batches(std::make_shared<CachedFilms>(cached()), 2);
  for (size_t b = 0; b < resumed.size(); ++b) EXPECT_EQ(resumed[b].first_frames, mixed[b + 2].first_frames);
}

TEST(WindowStarts, are_spread_evenly_and_never_twice) {
  EXPECT_THAT(window_starts(1, 4), ElementsAre(0));
  EXPECT_THAT(window_starts(10, 1), ElementsAre(0));
  EXPECT_THAT(window_starts(10, 2), ElementsAre(0, 9));
  EXPECT_THAT(window_starts(10, 4), ElementsAre(0, 3, 6, 9));
  EXPECT_THAT(window_starts(3, 8), ElementsAre(0, 1, 2));
  EXPECT_THAT(window_starts(3, 0), ElementsAre(0, 1, 2));
}

TEST(FilmLatents, lines_that_describe_no_film_are_refused) {
  const FilmLatents film{.file = {7, 8, 9},
                         .shape = {5, 32, 48},
                         .first_frames = {0, 3},
                         .clip = {.fps = 24.5, .remark = "cut"}};
  const FilmLatents back = film_latents(about_text(film), "x");
  EXPECT_EQ(back.first_frames, film.first_frames);
  EXPECT_EQ(back.shape, film.shape);
  EXPECT_EQ(back.file.digest, 9u);
  EXPECT_EQ(back.clip.fps, 24.5);
  EXPECT_EQ(back.clip.remark, "cut");
  for (const char* line : {"", "{}", "[1]", "{\"file\":[1,2,\"zz\"]}"})
    EXPECT_THROW(film_latents(line, "x"), Error);
}

}  // namespace
}  // namespace orrery
