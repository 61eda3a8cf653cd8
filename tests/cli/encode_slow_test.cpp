// orrery encode from outside: films and prompts once into a cache, training from it as from the films.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "ckpt/folder_lock.h"
#include "cli/program.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kTwoRanks = ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n 2 ";

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// Every file but the lock, by its path inside the folder.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().filename() != "lock")
      files[fs::relative(entry.path(), folder).string()] = file_text(entry.path());
  return files;
}

class EncodeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = testing::TempDir() + "encode_" + std::to_string(getpid());
    const Result demo =
        run("demo-data --out=" + folder_ + "/data --clips=5 --held_out=1 --frames=7 --height=32 --width=32");
    ASSERT_EQ(demo.code, 0) << demo.text;
    std::ofstream(folder_ + "/recipe.ini")
        << "[model]\npreset = nano\n[data]\npath = " << folder_
        << "/data/train\nframes = 5\nheight = 32\nwidth = 32\n"
        << "[tokenizer]\nkind = wan\nweights = random\nwidth = 8\ndtype = float32\n"
        << "[train]\nsteps = 4\nbatch = 4\nlog_every = 1\nseed = 3\n"
        << "[ckpt]\nevery = 2\n[sample]\nevery = 0\nsteps = 1\npath = " << folder_
        << "/data/held_out\nfinal_clips = 1\n";
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static Result orrery(const std::string& command, const std::string& more,
                       const std::string& launcher = "") {
    return run(command + " " + folder_ + "/recipe.ini " + more, launcher);
  }
  static Result encode(const std::string& cache, const std::string& more = "",
                       const std::string& launcher = "") {
    return orrery("encode", "--out=" + folder_ + "/" + cache + " --windows=0 --per_shard=2 " + more,
                  launcher);
  }
  // Loss of each step.
  static std::vector<double> train(const std::string& run_dir, const std::string& more = "",
                                   const std::string& launcher = "") {
    const std::string path = folder_ + "/" + run_dir;
    const Result result = orrery("train", "--train.run_dir=" + path + " " + more, launcher);
    EXPECT_EQ(result.code, 0) << result.text;
    log_ = result.text;
    std::istringstream in(file_text(path + "/metrics.jsonl"));
    std::vector<double> losses;
    for (std::string line; std::getline(in, line);) {
      const auto parsed = nlohmann::json::parse(line);
      if (parsed.contains("loss")) losses.push_back(parsed.at("loss"));
    }
    return losses;
  }
  static std::string from_cache(const std::string& cache) { return " --data.cache=" + folder_ + "/" + cache; }
  static inline std::string folder_, log_;
};

TEST_F(EncodeTest, one_rank_and_two_write_the_same_and_training_from_it_is_training_from_the_films) {
  const Result one = encode("one", "--text=true"), two = encode("two", "--text=true", kTwoRanks);
  ASSERT_EQ(one.code, 0) << one.text;
  ASSERT_EQ(two.code, 0) << two.text;
  EXPECT_THAT(one.text, HasSubstr("latents of 15 clips of 5 films"));
  EXPECT_EQ(contents(folder_ + "/one"), contents(folder_ + "/two"));
  const auto plain = train("plain");
  EXPECT_EQ(plain.size(), 4u);
  EXPECT_EQ(train("cached", from_cache("one")), plain);
  EXPECT_THAT(log_, HasSubstr("latents of 5 of 5 films"));
  // Without one of its three shards: a mixture of both, resumed half-way.
  fs::remove_all(folder_ + "/two/latents/shard_00000001");
  train("mixed", "--train.steps=2" + from_cache("two"));
  EXPECT_THAT(log_, AllOf(HasSubstr("latents of 3 of 5 films"), HasSubstr("not in the cache")));
  EXPECT_EQ(train("mixed", from_cache("two")), plain);
  EXPECT_THAT(log_, HasSubstr("resumed after step 2"));
  const auto two_ranks = train("plain_two", "", kTwoRanks);
  EXPECT_EQ(train("cached_two", from_cache("one"), kTwoRanks), two_ranks);
  const Result film = run("generate --run=" + folder_ + "/cached --out=" + folder_ +
                          "/film.mp4 --prompt=push" + " --sample.condition_frames=0");
  EXPECT_EQ(film.code, 0) << film.text;
  EXPECT_TRUE(fs::exists(folder_ + "/film.mp4"));
}

TEST_F(EncodeTest, bfloat16_latents_take_half_the_bytes_and_come_back_to_the_bit) {
  const std::string half = " --tokenizer.dtype=bfloat16";
  ASSERT_EQ(encode("half", half).code, 0);
  EXPECT_EQ(train("cached_half", half + from_cache("half")), train("plain_half", half));
  ASSERT_EQ(encode("whole").code, 0);
  EXPECT_GT(fs::file_size(folder_ + "/whole/latents/shard_00000000/items.h5"),
            fs::file_size(folder_ + "/half/latents/shard_00000000/items.h5"));
}

TEST_F(EncodeTest, a_killed_job_goes_on_where_it_was) {
  ASSERT_EQ(encode("killed").code, 0);
  const auto whole = contents(folder_ + "/killed");
  fs::remove(folder_ + "/killed/latents/shard_00000002/manifest.json");  // as if killed while it was written
  const Result again = encode("killed", "", kTwoRanks);
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_THAT(again.text, AllOf(HasSubstr("4 of 5 films are there"), HasSubstr("of 1 films")));
  EXPECT_EQ(contents(folder_ + "/killed"), whole);
}

TEST_F(EncodeTest, a_damaged_shard_ends_training_and_is_mended_by_encoding_again) {
  ASSERT_EQ(encode("damaged", "--text=true").code, 0);
  const auto plain = train("before", from_cache("damaged"));
  const std::string items = folder_ + "/damaged/latents/shard_00000001/items.h5", kept = file_text(items);
  std::string bytes = kept;
  for (size_t i = bytes.size() / 4; i < bytes.size(); ++i) bytes[i] = static_cast<char>(~bytes[i]);
  std::ofstream(items, std::ios::binary) << bytes;
  const Result refused =
      orrery("train", "--train.run_dir=" + folder_ + "/after" + from_cache("damaged"), kTwoRanks);
  EXPECT_EQ(refused.code, 3) << refused.text;
  EXPECT_THAT(refused.text, AllOf(HasSubstr("latents/shard_00000001 is damaged: wanted rows "),
                                  HasSubstr(" of latents of films/videos/000"),
                                  HasSubstr("orrery encode again with --out=" + folder_ + "/damaged")));
  const Result mended = encode("damaged", "--text=true", kTwoRanks);
  EXPECT_EQ(mended.code, 0) << mended.text;
  EXPECT_THAT(mended.text, AllOf(HasSubstr("damaged " + folder_ + "/damaged/latents/shard_00000001"),
                                 HasSubstr("3 of 5 films are there"), HasSubstr("of 2 films")));
  EXPECT_TRUE(fs::exists(folder_ + "/damaged/latents/shard_00000001.damaged"));
  EXPECT_EQ(train("after", from_cache("damaged")), plain);
  EXPECT_THAT(log_, HasSubstr("latents of 5 of 5 films"));
}

TEST_F(EncodeTest, a_folder_that_cannot_be_used_is_refused) {
  std::ofstream(folder_ + "/file") << "in the way";
  const Result in_the_way = encode("file/cache");
  EXPECT_EQ(in_the_way.code, 2) << in_the_way.text;
  EXPECT_THAT(in_the_way.text, AllOf(HasSubstr("--out="), HasSubstr("cannot be made")));
  fs::create_directories(folder_ + "/locked");
  const FolderLock other_job(folder_ + "/locked");
  const Result locked = encode("locked");
  EXPECT_EQ(locked.code, 2) << locked.text;
  EXPECT_THAT(locked.text, AllOf(HasSubstr("another job"), HasSubstr("choose another folder"),
                                 testing::Not(HasSubstr("train.run_dir"))));
}

TEST_F(EncodeTest, what_changed_since_is_named) {
  ASSERT_EQ(encode("old").code, 0);
  const auto refused = [&](const std::string& more) {
    const Result result =
        orrery("train", "--train.run_dir=" + folder_ + "/refused" + from_cache("old") + " " + more);
    EXPECT_EQ(result.code, 2) << result.text;
    return result.text;
  };
  EXPECT_THAT(refused("--tokenizer.dtype=bfloat16"),
              HasSubstr("tokenizer.dtype: the cache has float32, this run bfloat16"));
  EXPECT_THAT(refused("--tokenizer.encode_window=4"), HasSubstr("tokenizer.encode_window"));
  EXPECT_THAT(refused("--train.seed=4"), HasSubstr("tokenizer.weights: the cache has"));
  EXPECT_THAT(refused("--data.resize=pad"), HasSubstr("data.resize: the cache has stretch, this run pad"));
  EXPECT_THAT(encode("old", "--data.height=16").text,
              HasSubstr("data.height: the cache has 32, this run 16"));
  const std::string films = folder_ + "/data/train/videos/";
  const std::string film = films + "0002.mp4", kept = file_text(film);
  std::ofstream(film, std::ios::binary) << file_text(films + "0001.mp4");
  EXPECT_THAT(refused("--data.uncached=refuse"),
              AllOf(HasSubstr("lacks 1 of 5 films"), HasSubstr("0002.mp4: its file has changed")));
  train("changed", from_cache("old"));
  EXPECT_THAT(log_, HasSubstr("0002.mp4: its file has changed"));
  std::ofstream(film, std::ios::binary) << "no film";
  const Result bad = encode("old", "--data.max_bad_fraction=0.5");
  EXPECT_EQ(bad.code, 0) << bad.text;
  EXPECT_THAT(bad.text, HasSubstr("skipped 0002.mp4"));
  EXPECT_EQ(encode("old").code, 3);
  std::ofstream(film, std::ios::binary) << kept;
}

}  // namespace
}  // namespace orrery::cli
