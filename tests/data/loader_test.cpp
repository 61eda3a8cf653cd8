#include "data/loader.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "data/media_folder.h"

namespace orrery {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

int64_t pixel(int64_t film, int64_t window) {
  return (film + 20 * window) % 256;
}

// Films without files: pixels tell film and window; some films fail, always or for some windows.
class FakeData : public Dataset {
 public:
  explicit FakeData(int64_t films, std::set<int64_t> bad = {}) : films_(films), bad_(std::move(bad)) {}
  int64_t size() const override { return films_; }
  std::string name(int64_t index) const override { return "film" + std::to_string(index); }
  ClipShape shape(int64_t) const override { return {3, 4, 4}; }
  std::vector<ClipShape> shapes() const override { return {{3, 4, 4}}; }
  Clip item(int64_t index, const Rng& rng, const std::stop_token&) const override {
    ++items;
    require(!bad_.contains(index), name(index), ": is bad");
    Clip clip;
    clip.first_frame = static_cast<int64_t>(Rng(rng).below(10));
    require(clip.first_frame < 10 - bad_windows, name(index), ": this window is bad");
    clip.video = at::full({3, 3, 4, 4}, pixel(index, clip.first_frame), at::kByte);
    clip.caption = clip.source = name(index);
    clip.fps = static_cast<double>(index);
    if (index == damaged) clip.remark = "scratches";
    return clip;
  }
  mutable std::atomic<int64_t> items = 0;
  int64_t bad_windows = 0;  // of 10
  int64_t damaged = -1;

 private:
  int64_t films_;
  std::set<int64_t> bad_;
};

std::shared_ptr<const Dataset> fake(int64_t films, std::set<int64_t> bad = {}) {
  return std::make_shared<FakeData>(films, std::move(bad));
}

struct Ranks {
  int64_t world = 1, workers = 2, prefetch = 2, start = 0;
};

LoaderConfig config_of(const Ranks& ranks, int64_t rank = 0) {
  LoaderConfig config;
  config.seed = 5;
  config.rank = rank;
  config.world = ranks.world;
  config.workers = ranks.workers;
  config.prefetch = ranks.prefetch;
  config.start_step = ranks.start;
  config.max_bad_fraction = 1;
  return config;
}

// Steps `start` to 11 of all ranks, each batch put together in the order of slots.
std::vector<Batch> all_batches(const std::vector<LoaderPart>& parts, const Ranks& ranks) {
  std::vector<Batch> whole(12 - ranks.start);
  for (int64_t rank = 0; rank < ranks.world; ++rank) {
    Loader loader(parts, config_of(ranks, rank));
    for (Batch& batch : whole) {
      Batch share = loader.next();
      EXPECT_EQ(share.video.size(0), static_cast<int64_t>(share.samples.size()));
      if (rank == 0) {
        batch = std::move(share);
        continue;
      }
      EXPECT_EQ(share.step, batch.step);
      batch.video = at::cat({batch.video, share.video});
      const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
      append(batch.samples, share.samples);
      append(batch.captions, share.captions);
      append(batch.sources, share.sources);
      append(batch.fps, share.fps);
      append(batch.films, share.films);
      append(batch.first_frames, share.first_frames);
    }
  }
  return whole;
}

void expect_same(const std::vector<Batch>& found, const std::vector<Batch>& wanted, int64_t start = 0) {
  ASSERT_EQ(found.size() + start, wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const Batch &a = found[i], &b = wanted[i + start];
    EXPECT_EQ(a.step, b.step);
    EXPECT_EQ(a.samples, b.samples);
    EXPECT_EQ(a.captions, b.captions);
    EXPECT_EQ(a.sources, b.sources);
    EXPECT_EQ(a.fps, b.fps);
    EXPECT_EQ(a.films, b.films);
    EXPECT_EQ(a.first_frames, b.first_frames);
    EXPECT_EQ(a.is_image, b.is_image);
    EXPECT_TRUE(at::equal(a.video, b.video)) << "step " << a.step;
  }
}

TEST(Loader, fills_every_field_of_a_batch) {
  Loader loader({{fake(9), 4}}, config_of({}));
  std::set<std::string> names;
  for (int64_t step = 0; step < 3; ++step) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.step, step);
    EXPECT_FALSE(batch.is_image);
    EXPECT_EQ(batch.video.sizes(), at::IntArrayRef({4, 3, 3, 4, 4}));
    EXPECT_EQ(batch.video.scalar_type(), at::kByte);
    EXPECT_THAT(batch.samples, ElementsAre(0, 1, 2, 3));
    EXPECT_FALSE(batch.padding_mask.defined());
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t film = batch.films[i];
      EXPECT_EQ(batch.captions[i], "film" + std::to_string(film));
      EXPECT_EQ(batch.sources[i], batch.captions[i]);
      EXPECT_EQ(batch.fps[i], film);
      EXPECT_TRUE(
          at::equal(batch.video[i], at::full({3, 3, 4, 4}, pixel(film, batch.first_frames[i]), at::kByte)));
      if (step < 2) names.insert(batch.captions[i]);
    }
  }
  EXPECT_EQ(names.size(), 8u);  // none twice in an epoch of 9 films
}

TEST(Loader, order_does_not_depend_on_ranks_workers_or_prefetch) {
  for (const int64_t bad_windows : {0, 4}) {  // then 40 % of all reads fail and are replaced
    auto data = std::make_shared<FakeData>(10, std::set<int64_t>{2, 7});
    data->bad_windows = bad_windows;
    const std::vector<Batch> wanted = all_batches({{data, 8}}, {});
    for (const Ranks& ranks :
         {Ranks{.world = 1, .workers = 1, .prefetch = 1}, Ranks{.world = 1, .workers = 5}, Ranks{.world = 2},
          Ranks{.world = 4, .workers = 3, .prefetch = 5}, Ranks{.world = 8}})
      expect_same(all_batches({{data, 8}}, ranks), wanted);
    std::set<std::pair<int64_t, int64_t>> clips;
    for (const Batch& batch : wanted)
      for (size_t i = 0; i < batch.films.size(); ++i) {
        EXPECT_NE(batch.films[i], 2);
        EXPECT_NE(batch.films[i], 7);
        clips.emplace(batch.films[i], batch.first_frames[i]);
      }
    EXPECT_GT(clips.size(), 30u);
  }
}

TEST(Loader, resumes_at_any_step) {
  const std::vector<LoaderPart> parts = {{fake(3), 2, 1}, {fake(11, {4}), 4, 2}};
  const std::vector<Batch> wanted = all_batches(parts, {});
  for (const int64_t start : {1, 4, 11}) expect_same(all_batches(parts, {.start = start}), wanted, start);
}

TEST(Loader, seeds_give_different_orders) {
  LoaderConfig other = config_of({});
  other.seed = 6;
  Loader a({{fake(50), 8}}, config_of({})), b({{fake(50), 8}}, other);
  EXPECT_NE(a.next().films, b.next().films);
}

TEST(Loader, data_sets_take_turns) {
  class Images final : public FakeData {
   public:
    using FakeData::FakeData;
    ClipShape shape(int64_t) const override { return {1, 8, 8}; }
    std::vector<ClipShape> shapes() const override { return {{1, 8, 8}}; }
    Clip item(int64_t index, const Rng&, const std::stop_token&) const override {
      Clip clip;
      clip.video = at::full({3, 1, 8, 8}, index, at::kByte);
      return clip;
    }
  };
  Loader loader({{std::make_shared<Images>(3), 6, 1}, {fake(5), 2, 2}}, config_of({.world = 2}));
  for (int64_t step = 0; step < 9; ++step) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.is_image, step % 3 == 0);
    EXPECT_EQ(batch.video.size(0), step % 3 == 0 ? 3 : 1);
  }
}

TEST(Loader, names_bad_and_damaged_files_once) {
  auto data = std::make_shared<FakeData>(10, std::set<int64_t>{2, 7});
  data->damaged = 4;
  LoaderConfig config = config_of({});
  std::vector<std::string> bad, damaged;
  config.on_bad = [&](const BadFile& file) { bad.push_back(file.name + " " + file.reason); };
  config.on_damaged = [&](const BadFile& file) { damaged.push_back(file.name + " " + file.reason); };
  Loader loader({{data, 5}}, config);
  for (int i = 0; i < 20; ++i) loader.next();
  EXPECT_THAT(bad, testing::UnorderedElementsAre("film2 film2: is bad", "film7 film7: is bad"));
  EXPECT_THAT(damaged, ElementsAre("film4 scratches"));
  ASSERT_EQ(loader.bad_files().size(), 2u);
  EXPECT_EQ(loader.bad_files()[0].index, 2);
  EXPECT_EQ(loader.bad_files()[1].name, "film7");
}

TEST(Loader, knows_bad_files_of_the_batches_given_alone) {
  // One rank's list at a step is that of the clips up to there, however far the workers are ahead.
  const auto data = fake(40, {1, 5, 9, 20, 33});
  std::vector<size_t> counts;
  for (const int64_t prefetch : {1, 8}) {
    Loader loader({{data, 4}}, config_of({.workers = 4, .prefetch = prefetch}));
    for (int i = 0; i < 10; ++i) {
      loader.next();
      const size_t known = loader.bad_files().size();
      if (prefetch == 1) counts.push_back(known);
      EXPECT_EQ(known, counts[i]);
    }
  }
  EXPECT_EQ(counts.back(), 5u);
}

// Steps until next() throws, and what.
std::pair<int64_t, std::string> steps_until_refusal(Loader& loader, Exit code) {
  for (int64_t step = 0; step < 40; ++step) {
    try {
      loader.next();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return {step, error.what()};
    }
  }
  return {-1, ""};
}

TEST(Loader, stops_above_max_bad_fraction) {
  LoaderConfig config = config_of({});
  config.max_bad_fraction = 0.2;
  Loader enough({{fake(10, {2, 7}), 5}}, config), too_many({{fake(10, {0, 2, 7}), 5}}, config);
  EXPECT_EQ(steps_until_refusal(enough, Exit::bad_data).first, -1);
  const auto [step, text] = steps_until_refusal(too_many, Exit::bad_data);
  EXPECT_GE(step, 0);
  EXPECT_LE(step, 1);  // the end of the first epoch
  EXPECT_THAT(text,
              testing::AllOf(HasSubstr("3 of 10"), HasSubstr("film0: is bad"), HasSubstr("film2: is bad"),
                             HasSubstr("film7: is bad"), HasSubstr("max_bad_fraction")));
  EXPECT_THROW(too_many.next(), Error);  // and stays so
  EXPECT_THROW(too_many.next(), Error);
}

TEST(Loader, ends_when_no_film_can_be_read) {
  std::set<int64_t> all;
  for (int64_t i = 0; i < 1000; ++i) all.insert(i);
  for (const double fraction : {0., 0.05, 1.}) {
    auto data = std::make_shared<FakeData>(1000, all);
    LoaderConfig config = config_of({.workers = 1, .prefetch = 1});
    config.max_bad_fraction = fraction;
    Loader loader({{data, 1}}, config);
    EXPECT_EQ(steps_until_refusal(loader, Exit::bad_data).first, 0);
    EXPECT_LE(data->items, 1000 * fraction + 2);  // no more reads than needed to know
  }
}

TEST(Loader, merges_the_lists_of_ranks) {
  const std::vector<BadFile> merged = merge_bad_files(
      {{0, 3, "c", "r2"}, {1, 3, "x", ""}, {0, 1, "a", ""}, {0, 3, "c", "r1"}, {0, 1, "a", ""}});
  ASSERT_EQ(merged.size(), 3u);
  EXPECT_EQ(merged[0].name, "a");
  EXPECT_EQ(merged[1].reason, "r1");
  EXPECT_EQ(merged[2].part, 1);
  EXPECT_NO_THROW(check_bad_fraction(merged, 3, 1));
  EXPECT_NO_THROW(check_bad_fraction(merged, 30, 0.1));
  EXPECT_THROW(check_bad_fraction(merged, 29, 0.1), Error);
}

TEST(Loader, passes_other_exceptions_on_at_their_step) {
  struct Breaking final : FakeData {
    using FakeData::FakeData;
    Clip item(int64_t index, const Rng& rng, const std::stop_token& stop) const override {
      if (index == 6) throw std::bad_alloc();
      if (index == 7) throw Error("machine trouble", Exit::failure);
      return FakeData::item(index, rng, stop);
    }
  };
  for (const int64_t workers : {1, 4}) {
    Loader whole({{fake(12), 3}}, config_of({.workers = workers}));
    int64_t step = 0;
    Loader loader({{std::make_shared<Breaking>(12), 3}}, config_of({.workers = workers, .prefetch = 4}));
    for (;; ++step) {
      const std::vector<int64_t> films = whole.next().films;
      const auto first =
          std::find_if(films.begin(), films.end(), [](int64_t film) { return film == 6 || film == 7; });
      if (first == films.end()) {
        EXPECT_EQ(loader.next().films, films);
      } else {
        const char* wanted = *first == 6 ? "std::bad_alloc" : "machine trouble";
        for (int again = 0; again < 2; ++again)
          EXPECT_THAT([&] { loader.next(); }, testing::ThrowsMessage<std::exception>(wanted));
        break;
      }
    }
    EXPECT_LT(step, 4);
  }
}

TEST(Loader, passes_on_the_exception_of_the_lowest_slot) {
  struct Broken final : FakeData {
    using FakeData::FakeData;
    Clip item(int64_t index, const Rng&, const std::stop_token&) const override {
      throw Error(name(index), Exit::failure);
    }
  };
  Loader whole({{fake(12), 6}}, config_of({})), broken({{std::make_shared<Broken>(12), 6}}, config_of({}));
  EXPECT_THAT([&] { broken.next(); }, testing::ThrowsMessage<Error>(whole.next().captions[0]));
}

TEST(Loader, reads_no_further_ahead_than_prefetch) {
  auto data = std::make_shared<FakeData>(100);
  Loader loader({{data, 4}}, config_of({.workers = 3, .prefetch = 2}));
  for (int64_t step = 0; step < 20; ++step) {
    loader.next();
    EXPECT_LE(data->items, (step + 1 + 2) * 4);
  }
}

// A film whose reading lasts until it is stopped.
struct Endless final : FakeData {
  using FakeData::FakeData;
  Clip item(int64_t, const Rng&, const std::stop_token& stop) const override {
    ++items;
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, stop, [] { return false; });
    throw Stopped();
  }
};

TEST(Loader, ends_while_workers_read) {
  auto data = std::make_shared<Endless>(100);
  for (int i = 0; i < 20; ++i) Loader({{data, 4}}, config_of({.workers = 4}));
  Loader loader({{data, 4}}, config_of({.workers = 4}));
  while (data->items < 4) std::this_thread::yield();
}

TEST(Loader, ends_with_batches_unread) {
  for (int i = 0; i < 20; ++i) {
    Loader loader({{fake(10), 4}}, config_of({.workers = 4, .prefetch = 3}));
    if (i % 2 == 0) loader.next();
  }
}

TEST(Loader, refuses_bad_settings) {
  const auto refused = [](std::vector<LoaderPart> parts, const std::function<void(LoaderConfig&)>& change) {
    LoaderConfig config = config_of({});
    change(config);
    EXPECT_THROW(Loader(std::move(parts), config), Error);
  };
  const auto nothing = [](LoaderConfig&) {};
  refused({}, nothing);
  refused({{nullptr, 4}}, nothing);
  refused({{fake(0), 4}}, nothing);
  refused({{fake(5), 0}}, nothing);
  refused({{fake(5), 4, 0}}, nothing);
  refused({{fake(5), 4, -1}}, nothing);
  refused({{fake(5), int64_t{1} << 40}}, nothing);
  const std::vector<LoaderPart> good = {{fake(5), 4}};
  refused(good, [](LoaderConfig& c) { c.world = 3; });
  refused(good, [](LoaderConfig& c) { c.rank = 1; });
  refused(good, [](LoaderConfig& c) { c.workers = 0; });
  refused(good, [](LoaderConfig& c) { c.prefetch = 0; });
  refused(good, [](LoaderConfig& c) { c.start_step = -1; });
  refused(good, [](LoaderConfig& c) { c.max_bad_fraction = 1.5; });
  refused(good, [](LoaderConfig& c) { c.max_bad_fraction = std::nan(""); });
}

DataConfig films_of(const test::FilmFolder& folder) {
  DataConfig config;
  config.path = folder.path().string();
  config.frames = 5;
  config.height = 16;
  config.width = 24;
  return config;
}

TEST(Loader, reads_films_alike_on_1_2_and_4_ranks) {
  test::FilmFolder folder;
  for (int i = 0; i < 6; ++i) folder.add(i, 7);
  folder.add_bad(6);
  folder.add(7, 3);  // too short
  const DataConfig config = films_of(folder);
  const std::vector<Batch> wanted = all_batches(loader_parts(config, open_data(config), 4), {});
  for (const int64_t world : {2, 4})
    expect_same(all_batches(loader_parts(config, open_data(config), 4), {.world = world}), wanted);
  std::set<std::string> captions;
  for (const Batch& batch : wanted) captions.insert(batch.captions.begin(), batch.captions.end());
  EXPECT_THAT(captions, ElementsAre("film 0", "film 1", "film 2", "film 3", "film 4", "film 5"));
}

TEST(Loader, batches_of_buckets_have_one_shape) {
  test::FilmFolder folder;
  for (int i = 0; i < 4; ++i) folder.add(i, 5, 32, 64);
  for (int i = 4; i < 7; ++i) folder.add(i, 5, 64, 32);
  folder.add_bad(7);
  DataConfig config = films_of(folder);
  config.buckets = {"16x32", "32x16"};
  const std::vector<LoaderPart> parts = loader_parts(config, open_data(config), 2);
  std::set<std::vector<int64_t>> shapes;
  const std::vector<Batch> wanted = all_batches(parts, {});
  for (const Batch& batch : wanted) {
    shapes.insert(batch.video.sizes().vec());
    for (const int64_t film : batch.films) EXPECT_EQ(film < 4, batch.video.size(4) == 32);
  }
  EXPECT_THAT(shapes,
              ElementsAre(std::vector<int64_t>{2, 3, 5, 16, 32}, std::vector<int64_t>{2, 3, 5, 32, 16}));
  expect_same(all_batches(parts, {.world = 2}), wanted);
}

TEST(Loader, masks_padded_pixels) {
  test::FilmFolder folder;
  folder.add(0, 5, 16, 32);
  folder.add(1, 5, 32, 32);
  DataConfig config = films_of(folder);
  config.width = config.height = 32;
  config.resize = Resize::pad;
  Loader loader(loader_parts(config, open_data(config), 2), config_of({}));
  const Batch batch = loader.next();
  ASSERT_EQ(batch.padding_mask.sizes(), at::IntArrayRef({2, 1, 32, 32}));
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_EQ(batch.padding_mask[i].sum().item<double>(), batch.films[i] == 0 ? 16 * 32 : 0);
}

TEST(Loader, mixes_images_and_films) {
  test::FilmFolder films, images;
  films.add(0, 5);
  write_png(images.path() / "videos" / "a.png", test::flat_frames(0, 1, 20, 30)[0]);
  test::write_file(images.path() / "metas" / "a.txt", "an image");
  DataConfig config = films_of(films);
  config.image_path = images.path().string();
  config.image_batch = 6;
  Loader loader(loader_parts(config, open_data(config), 2), config_of({.world = 2}));
  for (int64_t step = 0; step < 8; ++step) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.is_image, step % 4 == 0);  // 1 and 3 batches of a cycle
    EXPECT_EQ(batch.samples.size(), step % 4 == 0 ? 3u : 1u);
    EXPECT_EQ(batch.captions[0], step % 4 == 0 ? "an image" : "film 0");
  }
  config.image_batches = 0;
  EXPECT_THROW(loader_parts(config, open_data(config), 2), Error);
}

}  // namespace
}  // namespace orrery
