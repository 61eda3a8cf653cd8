#include "data/video_folder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <thread>

#include "base/error.h"
#include "data/media_folder.h"

namespace orrery {
namespace {
using test::FilmFolder;
using testing::ElementsAre;
using testing::HasSubstr;

ClipOptions options(int64_t frames, int64_t height = 32, int64_t width = 48) {
  ClipOptions result;
  result.frames = frames;
  result.sizes = {{height, width}};
  return result;
}

DataConfig config_of(const FilmFolder& folder, int64_t frames) {
  DataConfig config;
  config.path = folder.path().string();
  config.frames = frames;
  config.height = 32;
  config.width = 48;
  return config;
}

Rng rng(uint64_t number = 0) {
  return Rng(1, "test", {number});
}

std::string refusal(const Dataset& data, int64_t index) {
  try {
    data.item(index, rng());
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_input);
    return error.what();
  }
}

std::vector<std::string> names(const Dataset& data) {
  std::vector<std::string> result;
  for (int64_t i = 0; i < data.size(); ++i) result.push_back(data.name(i));
  return result;
}

// Grey level of the clip's frame, whose pixels are all alike but for the coding (limited range: within 1).
double grey(const Clip& clip, int64_t frame) {
  return clip.video.select(1, frame).to(at::kDouble).mean().item<double>();
}

TEST(VideoFolder, lists_films_and_images_by_name) {
  FilmFolder folder;
  std::filesystem::create_directories(folder.path() / "images");
  std::filesystem::create_directories(folder.path() / "videos" / "folder.mp4");
  for (const char* name : {"videos/b.mp4", "videos/a.MOV", "images/ab.png", "videos/c.webp", "videos/.d.mp4",
                           "videos/notes.json", "videos/Thumbs.db"})
    test::write_file(folder.path() / name, "");
  std::filesystem::create_symlink("nowhere", folder.path() / "videos" / "lost.mp4");
  const VideoFolder data(list_films(folder.path()), options(1));
  EXPECT_THAT(names(data), ElementsAre("a.MOV", "ab.png", "b.mp4", "c.webp", "lost.mp4"));
  EXPECT_EQ(list_films(folder.path())[2],
            (FilmFile{folder.path() / "videos/b.mp4", folder.path() / "metas/b.txt"}));
}

TEST(VideoFolder, refuses_folders_without_films) {
  FilmFolder folder;
  for (const auto& path : {std::filesystem::path(), folder.path(), folder.path() / "nothing"})
    EXPECT_THROW(list_films(path), Error) << path;
}

TEST(VideoFolder, gives_the_frames_of_a_window) {
  FilmFolder folder;
  folder.add(3, 12);
  const VideoFolder data(list_films(folder.path()), options(5));
  std::set<int64_t> starts;
  for (uint64_t i = 0; i < 100; ++i) {
    const Clip clip = data.item(0, rng(i));
    starts.insert(clip.first_frame);
    ASSERT_EQ(clip.video.sizes(), at::IntArrayRef({3, 5, 32, 48}));
    for (int64_t f = 0; f < 5; ++f) EXPECT_NEAR(grey(clip, f), 8 * (clip.first_frame + f) + 15, 1.5);
  }
  EXPECT_THAT(starts, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));  // the last window too
  const Clip clip = data.item(0, rng());
  EXPECT_EQ(clip.caption, "film 3");
  EXPECT_EQ(clip.fps, 10);
  EXPECT_EQ(clip.source, folder.film(3).string());
  EXPECT_EQ(clip.source_frames, 12);
  EXPECT_EQ(clip.source_height, 32);
  EXPECT_EQ(clip.source_width, 48);
  EXPECT_EQ(clip.remark, "");
  EXPECT_FALSE(clip.padding_mask.defined());
}

TEST(VideoFolder, keeps_colours_and_places_apart) {
  FilmFolder folder;
  at::Tensor frames = at::full({2, 32, 48, 3}, 20, at::kByte);
  frames.select(0, 1).narrow(0, 0, 16).narrow(1, 24, 24).select(2, 0).fill_(220);  // red, upper right
  write_png(folder.path() / "videos" / "a.png", frames[1]);
  test::write_file(folder.path() / "metas" / "a.txt", "");
  const VideoFolder data(list_films(folder.path()), options(1));
  const Clip clip = data.item(0, rng());
  EXPECT_TRUE(at::equal(clip.video.select(1, 0), frames[1].permute({2, 0, 1})));
}

TEST(VideoFolder, strides_over_frames) {
  FilmFolder folder;
  folder.add(0, 14);
  ClipOptions every_third = options(5);
  every_third.stride = 3;  // 13 frames
  const VideoFolder data(list_films(folder.path()), every_third);
  for (uint64_t i = 0; i < 10; ++i) {
    const Clip clip = data.item(0, rng(i));
    EXPECT_LE(clip.first_frame, 1);
    EXPECT_NEAR(clip.fps, 10. / 3, 1e-12);
    for (int64_t f = 0; f < 5; ++f) EXPECT_NEAR(grey(clip, f), 8 * (clip.first_frame + 3 * f), 1.5);
  }
}

TEST(VideoFolder, accepts_a_film_of_just_one_clip) {
  FilmFolder folder;
  folder.add(0, 5);
  EXPECT_EQ(VideoFolder(list_films(folder.path()), options(5)).item(0, rng()).first_frame, 0);
  EXPECT_THAT(refusal(VideoFolder(list_films(folder.path()), options(6)), 0),
              testing::AllOf(HasSubstr("0000.mp4"), HasSubstr("too short"), HasSubstr("5 frames")));
}

TEST(VideoFolder, names_the_file_that_gives_no_clip) {
  FilmFolder folder;
  for (int i = 0; i < 5; ++i) folder.add(i, 5);
  folder.add_bad(1);
  std::filesystem::remove(folder.caption(2));
  test::write_file(folder.caption(3), "\xFF\xFE");
  std::filesystem::resize_file(folder.film(4), 100);
  const VideoFolder data(list_films(folder.path()), options(5));
  EXPECT_EQ(refusal(data, 0), "accepted");
  EXPECT_THAT(refusal(data, 1), HasSubstr("0001.mp4"));
  EXPECT_THAT(refusal(data, 2), HasSubstr("0002.txt"));
  EXPECT_THAT(refusal(data, 3), HasSubstr("0003.txt"));
  EXPECT_THAT(refusal(data, 4), HasSubstr("0004.mp4"));
  EXPECT_EQ(refusal(data, 4), refusal(data, 4));
  EXPECT_THROW(data.item(5, rng()), Error);
  EXPECT_THROW(data.item(-1, rng()), Error);
}

TEST(VideoFolder, refuses_frames_above_the_limit) {
  FilmFolder folder;
  folder.add(0, 5);
  ClipOptions small = options(5);
  small.max_pixels = 32 * 48 - 1;
  EXPECT_THAT(refusal(VideoFolder(list_films(folder.path()), small), 0), HasSubstr("0000.mp4"));
}

TEST(VideoFolder, images_are_clips_of_one_frame) {
  FilmFolder folder;
  write_png(folder.path() / "videos" / "a.png", test::flat_frames(4, 1, 20, 30)[0]);
  write_jpeg(folder.path() / "videos" / "b.jpg", test::flat_frames(9, 1, 20, 30)[0]);
  for (const char* name : {"a.txt", "b.txt"}) test::write_file(folder.path() / "metas" / name, name);
  const VideoFolder data(list_films(folder.path()), options(1));
  for (int64_t i = 0; i < 2; ++i) {
    const Clip clip = data.item(i, rng());
    EXPECT_EQ(clip.fps, 30);
    EXPECT_EQ(clip.source_frames, 1);
    EXPECT_EQ(clip.video.sizes(), at::IntArrayRef({3, 1, 32, 48}));
    EXPECT_NEAR(grey(clip, 0), i == 0 ? 20 : 45, 1.5);
  }
  EXPECT_THAT(refusal(VideoFolder(list_films(folder.path()), options(5)), 0), HasSubstr("too short"));
}

TEST(VideoFolder, pads_instead_of_stretching) {
  FilmFolder folder;
  folder.add(0, 3, 32, 64);
  ClipOptions pad = options(3, 32, 32);
  pad.resize = Resize::pad;
  const Clip clip = VideoFolder(list_films(folder.path()), pad).item(0, rng());
  ASSERT_TRUE(clip.padding_mask.defined());
  EXPECT_EQ(clip.padding_mask.sizes(), at::IntArrayRef({32, 32}));
  EXPECT_EQ(clip.padding_mask.sum().item<double>(), 16 * 32);  // the picture is 16 x 32
  pad.sizes = {{32, 64}};
  EXPECT_FALSE(VideoFolder(list_films(folder.path()), pad).item(0, rng()).padding_mask.defined());
}

TEST(VideoFolder, holds_films_decoded_that_are_within_their_share) {
  FilmFolder folder;
  for (int i = 0; i < 3; ++i) folder.add(i, i < 2 ? 9 : 10);
  for (const Resize resize : {Resize::stretch, Resize::pad}) {
    ClipOptions cached = options(3, 16, 32);
    cached.stride = 2;
    cached.resize = resize;
    const VideoFolder plain(list_films(folder.path()), cached);
    cached.cache_bytes = 3 * (9 * 3 * 16 * 32);
    const VideoFolder data(list_films(folder.path()), cached);
    const auto expect_same = [](const Clip& a, const Clip& b) {
      EXPECT_EQ(a.first_frame, b.first_frame);
      EXPECT_EQ(a.caption, b.caption);
      EXPECT_TRUE(at::equal(a.video, b.video)) << a.first_frame;
      ASSERT_EQ(a.padding_mask.defined(), b.padding_mask.defined());
      EXPECT_TRUE(!a.padding_mask.defined() || at::equal(a.padding_mask, b.padding_mask));
    };
    std::vector<Clip> clips;
    for (uint64_t i = 0; i < 12; ++i) {
      clips.push_back(plain.item(static_cast<int64_t>(i % 3), rng(i)));
      expect_same(data.item(static_cast<int64_t>(i % 3), rng(i)), clips.back());
    }
    for (int i = 0; i < 3; ++i) std::filesystem::rename(folder.film(i), folder.film(i).string() + ".gone");
    for (uint64_t i = 0; i < 12; ++i)
      if (i % 3 < 2) expect_same(data.item(static_cast<int64_t>(i % 3), rng(i)), clips[i]);
    EXPECT_THAT(refusal(data, 2), HasSubstr("0002.mp4"));
    EXPECT_THAT(refusal(plain, 0), HasSubstr("0000.mp4"));
    for (int i = 0; i < 3; ++i) std::filesystem::rename(folder.film(i).string() + ".gone", folder.film(i));
  }
}

TEST(VideoFolder, gives_each_film_the_nearest_shape) {
  FilmFolder folder;
  folder.add(0, 3, 32, 64);
  folder.add(1, 3, 64, 32);
  folder.add(2, 3, 40, 40);
  folder.add(3, 3, 36, 64);
  folder.add_bad(4);
  ClipOptions buckets = options(3);
  buckets.sizes = {{32, 32}, {32, 64}, {64, 32}};
  buckets.workers = 3;
  const VideoFolder data(list_films(folder.path()), buckets);
  EXPECT_EQ(data.shapes(), (std::vector<ClipShape>{{3, 32, 32}, {3, 32, 64}, {3, 64, 32}}));
  const std::vector<int64_t> expected = {1, 2, 0, 1, 1};  // the bad film goes where most are
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(data.shape(i), data.shapes()[expected[i]]) << i;
    if (i == 4) continue;
    const Clip clip = data.item(i, rng());
    EXPECT_EQ(clip.video.size(2), data.shape(i).height);
    EXPECT_EQ(clip.video.size(3), data.shape(i).width);
  }
}

TEST(VideoFolder, stops_when_asked) {
  FilmFolder folder;
  folder.add(0, 5);
  const VideoFolder data(list_films(folder.path()), options(5));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(data.item(0, rng(), stop.get_token()), Stopped);
  EXPECT_EQ(refusal(data, 0), "accepted");
}

TEST(VideoFolder, serves_several_threads) {
  FilmFolder folder;
  for (int i = 0; i < 4; ++i) folder.add(i, 9);
  ClipOptions cached = options(5);
  cached.cache_bytes = int64_t{1} << 30;
  const VideoFolder data(list_films(folder.path()), cached), alone(list_films(folder.path()), options(5));
  std::vector<std::vector<Clip>> clips(4);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : clips)
      threads.emplace_back([&data, &mine] {
        const c10::InferenceMode guard;
        for (uint64_t i = 0; i < 24; ++i) mine.push_back(data.item(static_cast<int64_t>(i % 4), rng(i)));
      });
  }
  for (uint64_t i = 0; i < 24; ++i) {
    const Clip expected = alone.item(static_cast<int64_t>(i % 4), rng(i));
    for (const auto& mine : clips) EXPECT_TRUE(at::equal(mine[i].video, expected.video)) << i;
  }
}

TEST(OpenData, keeps_the_last_films_for_evaluation) {
  FilmFolder folder;
  for (int i = 0; i < 5; ++i) folder.add(i, 5);
  DataConfig config = config_of(folder, 5);
  config.held_out = 2;
  const DataSets sets = open_data(config);
  EXPECT_THAT(names(*sets.train), ElementsAre("0000.mp4", "0001.mp4", "0002.mp4"));
  EXPECT_THAT(names(*sets.held_out), ElementsAre("0003.mp4", "0004.mp4"));
  EXPECT_EQ(sets.images, nullptr);
  EXPECT_EQ(open_films(folder.path(), config)->size(), 5);
  config.held_out = 0;
  EXPECT_EQ(open_data(config).held_out, nullptr);
  for (const int64_t wrong : {-1, 5, 6}) {
    config.held_out = wrong;
    EXPECT_THROW(open_data(config), Error);
  }
}

TEST(OpenData, takes_one_frame_of_films_as_images) {
  FilmFolder films, images;
  films.add(0, 5);
  images.add(7, 5);
  DataConfig config = config_of(films, 5);
  config.image_path = images.path().string();
  config.stride = 1;
  const DataSets sets = open_data(config);
  EXPECT_EQ(sets.images->item(0, rng()).video.size(1), 1);
  EXPECT_EQ(sets.images->shape(0), (ClipShape{1, 32, 48}));
}

TEST(OpenData, refuses_bad_settings) {
  FilmFolder folder;
  folder.add(0, 5);
  for (const auto& change : std::vector<std::function<void(DataConfig&)>>{
           [](DataConfig& c) { c.frames = 0; }, [](DataConfig& c) { c.frames = -3; },
           [](DataConfig& c) { c.stride = 0; }, [](DataConfig& c) { c.height = 0; },
           [](DataConfig& c) { c.width = 1 << 20; }, [](DataConfig& c) { c.max_pixels = 0; },
           [](DataConfig& c) { c.buckets = {"large"}; }, [](DataConfig& c) { c.path = ""; }}) {
    DataConfig config = config_of(folder, 5);
    EXPECT_NO_THROW(open_data(config));
    change(config);
    EXPECT_THROW(open_data(config), Error);
  }
}

TEST(ReadClips, passes_over_bad_films) {
  FilmFolder folder;
  for (int i = 0; i < 4; ++i) folder.add(i, 5);
  folder.add_bad(1);
  const VideoFolder data(list_films(folder.path()), options(5));
  const ReadClips two = read_clips(data, 1, 2), all = read_clips(data, 1, 100);
  EXPECT_THAT(two.indices, ElementsAre(0, 2));
  EXPECT_THAT(all.indices, ElementsAre(0, 2, 3));
  ASSERT_EQ(two.bad.size(), 1u);
  EXPECT_EQ(two.bad[0].name, "0001.mp4");
  EXPECT_EQ(two.clips[1].caption, "film 2");
}

}  // namespace
}  // namespace orrery
