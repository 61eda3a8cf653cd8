// The whole path on real films, as a user walks it: latents and prompts into a cache, a small model trained
// on it, post-trained from its weights, and films of five prompts made with the result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/program.h"
#include "fixtures.h"
#include "media/decode.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kTwoRanks = ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n 2 ";

void expect_good(const Result& result, const std::string& says) {
  EXPECT_EQ(result.code, 0) << result.text;
  EXPECT_THAT(result.text, HasSubstr(says));
}

TEST(EndToEnd, encode_train_post_train_and_generate_on_films_of_a_robot) {
  const auto robot = std::filesystem::path(ORRERY_SOURCE_DIR) / "../shared/data/robot";
  if (!std::filesystem::exists(robot)) GTEST_SKIP() << "no robot films: ../shared/data/robot";
  const size_t films_there = test::files_in(robot / "videos", "", ".mp4").size();
  const std::string all_films = text_of("latents of ", films_there, " of ", films_there, " films");
  const test::ScratchFolder folder;
  const auto at = [&](const std::string& name) { return (folder / name).string(); };
  test::write_file(folder / "recipe.ini",
                   "[model]\npreset = nano\n[data]\npath = " + robot.string() +
                       "\nframes = 9\nheight = 48\nwidth = 64\n"
                       "[tokenizer]\nkind = wan\nweights = random\nwidth = 8\ndtype = float32\n"
                       "[train]\nsteps = 6\nbatch = 4\nlog_every = 2\nlr = 1e-3\nseed = 3\n"
                       "[ckpt]\nevery = 6\n[sample]\nevery = 0\n");
  const std::string recipe = " " + at("recipe.ini") + " ", cache = " --data.cache=" + at("cache");

  expect_good(run("encode" + recipe + "--text=true --windows=2 --out=" + at("cache"), kTwoRanks),
              text_of("clips of ", films_there, " films"));
  expect_good(run("train" + recipe + "--train.run_dir=" + at("base") + cache), all_films);
  expect_good(run("train" + recipe + "--train.run_dir=" + at("tuned") + cache + " --train.lr=1e-4" +
                      " --ckpt.load=" + at("base/checkpoints/step_000000006"),
                  kTwoRanks),
              all_films);

  std::string samples;
  const std::string film = R"(", "input_path": ")" + (robot / "videos/0000.mp4").string() + R"(", )";
  const std::vector<std::string> kinds = {"text2world", "image2world", "video2world", "image2world",
                                          "video2world"};
  for (size_t i = 0; i < kinds.size(); ++i)
    samples += R"({"name": "take)" + std::to_string(i) + R"(", "inference_type": ")" + kinds[i] +
               (i == 0 ? R"(", )" : film) + R"("num_steps": 2, "prompt": "take the cup )" +
               std::to_string(i) + "\"}\n";
  test::write_file(folder / "five.jsonl", samples);
  expect_good(run("generate -i " + at("five.jsonl") + " -o " + at("films") + " --run=" + at("tuned") +
                      " --num-generations 2",
                  kTwoRanks),
              "take4_seed1.mp4");
  const auto films = test::files_in(at("films"), "take", ".mp4");
  EXPECT_EQ(films.size(), 10u);
  for (const auto& path : films) {
    VideoFile made(path.string());
    EXPECT_EQ(made.frames(), 9) << path;
    EXPECT_EQ(made.height(), 48) << path;
    EXPECT_EQ(made.width(), 64) << path;
  }
  EXPECT_THAT(test::read_file(at("films/index.html")), HasSubstr("10 of 10 films"));
  EXPECT_NE(test::read_file(at("films/take1_seed0.mp4")), test::read_file(at("films/take1_seed1.mp4")));
}

}  // namespace
}  // namespace orrery::cli
