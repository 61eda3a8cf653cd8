// Films of cameras, a robot simulator and awkward files, where the larger collection lies beside the
// repository.
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/loader.h"
#include "fixtures.h"

namespace orrery {
namespace {
namespace fs = std::filesystem;

fs::path shared_data(const std::string& name) {
  return fs::path(ORRERY_SOURCE_DIR) / "../shared/data" / name;
}

#define SKIP_WITHOUT(path) \
  if (!fs::exists(path)) GTEST_SKIP() << "no ../shared/data/" << (path).filename().string()

DataConfig config_of(const fs::path& folder, int64_t frames) {
  DataConfig config;
  config.path = folder.string();
  config.frames = frames;
  config.height = 48;
  config.width = 64;
  return config;
}

TEST(RealData, robot_episodes_load_alike_on_two_ranks) {
  SKIP_WITHOUT(shared_data("robot"));
  DataConfig config = config_of(shared_data("robot"), 17);
  config.held_out = 6;
  const DataSets sets = open_data(config);
  EXPECT_EQ(sets.train->size(), 54);
  EXPECT_EQ(sets.held_out->name(0), "0054.mp4");
  LoaderConfig whole, half;
  half.world = 2;
  Loader loader(loader_parts(config, sets, 4), whole), first(loader_parts(config, sets, 4), half);
  for (int step = 0; step < 3; ++step) {
    const Batch batch = loader.next(), share = first.next();
    EXPECT_EQ(batch.video.sizes(), at::IntArrayRef({4, 3, 17, 48, 64}));
    EXPECT_TRUE(at::equal(batch.video.narrow(0, 0, 2), share.video));
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(batch.fps[i], 20);
      EXPECT_FALSE(batch.captions[i].empty());
      EXPECT_GT(batch.video[i].to(at::kFloat).std().item<float>(), 10) << "a flat picture";
    }
  }
  EXPECT_THAT(loader.bad_files(), testing::IsEmpty());
}

TEST(RealData, camera_films_of_all_codecs_load) {
  SKIP_WITHOUT(shared_data("films"));
  DataConfig config = config_of(shared_data("films"), 5);
  config.buckets = {"64x48", "48x48"};
  const std::shared_ptr<const Dataset> films = open_films(config.path, config);
  const ReadClips read = read_clips(*films, 0, films->size());
  EXPECT_EQ(read.clips.size(), 12u);
  for (const BadFile& file : read.bad) ADD_FAILURE() << file.name << ": " << file.reason;
  std::set<std::pair<int64_t, int64_t>> sizes;
  std::set<double> rates;
  for (const Clip& clip : read.clips) {
    sizes.emplace(clip.source_height, clip.source_width);
    rates.insert(clip.fps);
    EXPECT_FALSE(clip.caption.empty()) << clip.source;
    EXPECT_GT(clip.video.to(at::kFloat).std().item<float>(), 5) << clip.source;
  }
  EXPECT_GE(sizes.size(), 4u);
  EXPECT_GE(rates.size(), 3u);
}

// The awkward files as a data set, each with a caption.
struct HardFolder {
  HardFolder() {
    fs::create_directories(folder / "metas");
    fs::create_directory_symlink(fs::absolute(shared_data("hard")), folder / "videos");
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "videos"))
      test::write_file(folder / "metas" / (entry.path().stem().string() + ".txt"), "hard");
  }
  test::ScratchFolder folder;
};

TEST(RealData, hard_files_are_bad_where_expected) {
  SKIP_WITHOUT(shared_data("hard"));
  const HardFolder hard;
  const DataConfig config = config_of(hard.folder.path(), 1);
  const DataSets sets = open_data(config);
  nlohmann::json expected = nlohmann::json::parse(test::read_file(shared_data("hard") / "EXPECT.json"));
  if (expected.contains("files")) expected = expected["files"];
  std::set<std::string> wanted, found;
  for (const auto& [name, facts] : expected.items())
    if (facts.is_object() && facts.value("decode", true) == false) wanted.insert(name);
  const ReadClips read = read_clips(*sets.train, 0, sets.train->size());
  for (const BadFile& file : read.bad) {
    found.insert(file.name);
    EXPECT_THAT(file.reason, testing::HasSubstr(file.name));
  }
  EXPECT_FALSE(wanted.empty());
  EXPECT_EQ(found, wanted);
}

TEST(RealData, hard_files_are_replaced_alike_or_end_the_run) {
  SKIP_WITHOUT(shared_data("hard"));
  const HardFolder hard;
  const DataConfig config = config_of(hard.folder.path(), 25);  // about half of them are too short
  const DataSets sets = open_data(config);
  LoaderConfig whole, half;
  whole.max_bad_fraction = half.max_bad_fraction = 1;
  half.world = half.workers = 2;
  half.rank = 1;
  Loader loader(loader_parts(config, sets, 8), whole), second(loader_parts(config, sets, 8), half);
  for (int step = 0; step < 6; ++step) {
    const Batch batch = loader.next(), share = second.next();
    EXPECT_TRUE(at::equal(batch.video.narrow(0, 4, 4), share.video));
    EXPECT_EQ(std::vector<std::string>(batch.sources.begin() + 4, batch.sources.end()), share.sources);
  }
  EXPECT_GT(loader.bad_files().size(), 15u);
  Loader strict(loader_parts(config, sets, 8), {});
  try {
    for (int step = 0; step < 6; ++step) strict.next();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_data);
    EXPECT_THAT(error.what(), testing::HasSubstr("cannot be used"));
  }
}

}  // namespace
}  // namespace orrery
