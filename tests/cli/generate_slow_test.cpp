// orrery generate -i from outside: JSONL in, films and gallery out, alone and under mpirun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "fixtures.h"
#include "media/decode.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

std::string ranks(int n) {
  return std::string(ORRERY_MPIRUN) + " --allow-run-as-root --oversubscribe --bind-to none -n " +
         std::to_string(n) + " ";
}

// A tiny run, trained for a few steps; five samples.
class GenerateSamples : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::ScratchFolder>();
    const Result demo =
        run("demo-data --out=" + at("data") + " --clips=4 --held_out=2 --frames=13 --height=32 --width=32");
    ASSERT_EQ(demo.code, 0) << demo.text;
    test::write_file(
        *folder_ / "recipe.ini",
        "[model]\npreset = nano\n[data]\npath = " + at("data/train") +
            "\nframes = 13\nheight = 32\nwidth = 32\n[tokenizer]\nchannels = 8\n[train]\nsteps = 2\n"
            "batch = 2\nrun_dir = " +
            at("run") + "\n[ckpt]\nevery = 2\n[sample]\nevery = 0\n");
    const Result train = run("train " + at("recipe.ini"));
    ASSERT_EQ(train.code, 0) << train.text;
    const std::string film = R"("input_path": "data/held_out/videos/0005.mp4", "num_steps": 2})";
    test::write_file(
        *folder_ / "five.jsonl",
        R"({"name": "left", "inference_type": "image2world", "prompt": "push it left", )" + film + "\n" +
            R"({"name": "right", "inference_type": "video2world", "prompt": "push it right", )" + film +
            "\n\n" +
            R"({"name": "dream", "inference_type": "text2world", "prompt": "a cube & <an arm>", "num_steps": 2})"
            "\n"
            R"({"name": "small", "inference_type": "text2world", "prompt": "", "num_steps": 2, "resolution": "16,48"})"
            "\n"
            R"({"name": "long", "inference_type": "image2world", "prompt": "on", "enable_autoregressive": true, )"
            R"("num_output_frames": 20, "chunk_size": 13, )" +
            film + "\n");
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string at(const std::string& name) { return (*folder_ / name).string(); }
  static Result make(const std::string& out, const std::string& more = "", const std::string& launcher = "") {
    return run("generate -i " + at("five.jsonl") + " -o " + at(out) + " --run=" + at("run") + " " + more,
               launcher);
  }
  static void expect_same_films(const std::string& a, const std::string& b) {
    const auto films = test::files_in(at(a), "", ".mp4");
    EXPECT_FALSE(films.empty());
    for (const auto& film : films)
      EXPECT_EQ(test::read_file(film), test::read_file(*folder_ / b / film.filename())) << film;
  }
  static inline std::unique_ptr<test::ScratchFolder> folder_;
};

TEST_F(GenerateSamples, makes_two_films_of_each_of_five_samples_with_a_gallery_and_resumes) {
  const Result made = make("all", "--num-generations 2");
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_EQ(test::files_in(at("all"), "", ".mp4").size(), 10u);
  EXPECT_EQ(VideoFile(at("all/long_seed1.mp4")).frames(), 20);
  VideoFile small(at("all/small_seed0.mp4"));
  EXPECT_EQ(small.frames(), 13);
  EXPECT_EQ(small.height(), 16);
  EXPECT_EQ(small.width(), 48);
  EXPECT_EQ(small.codec(), "h264");
  EXPECT_EQ(small.fps().value(), 16);
  const std::string page = test::read_file(at("all/index.html"));
  EXPECT_THAT(page, testing::AllOf(HasSubstr("10 of 10 films"), HasSubstr("a cube &amp; &lt;an arm&gt;"),
                                   HasSubstr("right_seed1.mp4"), HasSubstr("data:image/jpeg")));
  EXPECT_THAT(page, testing::Not(HasSubstr("http-equiv=refresh")));
  const auto arguments = nlohmann::json::parse(test::read_file(at("all/left.json")));
  EXPECT_EQ(arguments.at("guidance"), 7);
  EXPECT_TRUE(std::filesystem::exists(at("all/config.ini")));

  std::filesystem::resize_file(at("all/dream_seed0.mp4"), 50);
  std::filesystem::remove(at("all/left_seed1.mp4"));
  const Result again = make("all", "--num-generations 2 --resume");
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_THAT(again.text, testing::AllOf(HasSubstr("8 films were there"), HasSubstr("dream_seed0.mp4"),
                                         HasSubstr("left_seed1.mp4")));
  EXPECT_THAT(make("all", "--num-generations 2 --resume --guidance 2").text,
              testing::Not(HasSubstr("were there")))
      << "made from something else";
}

TEST_F(GenerateSamples, ranks_that_share_the_films_out_make_those_of_one) {
  ASSERT_EQ(make("alone").code, 0);
  for (const auto& [out, n, more] : {std::tuple{"three", 3, ""}, {"branches", 2, "--cfg-parallel"}}) {
    const Result result = make(out, more, ranks(n));
    ASSERT_EQ(result.code, 0) << result.text;
    expect_same_films("alone", out);
  }
}

TEST_F(GenerateSamples, context_ranks_make_films_of_the_same_sizes) {
  const Result result = make("context", "--context-parallel-size=2", ranks(2));
  ASSERT_EQ(result.code, 0) << result.text;
  EXPECT_EQ(VideoFile(at("context/long.mp4")).frames(), 20);
  EXPECT_EQ(test::files_in(at("context"), "", ".mp4").size(), 5u);
}

TEST_F(GenerateSamples, resolved_arguments_make_the_same_film) {
  ASSERT_EQ(make("first").code, 0);
  const Result again = run("generate -i " + at("first/left.json") + " " + at("first/dream.json") + " -o " +
                           at("second") + " --checkpoint_path " + at("run/checkpoints/step_000000002"));
  ASSERT_EQ(again.code, 0) << again.text;
  expect_same_films("second", "first");
}

TEST_F(GenerateSamples, all_mistakes_are_told_at_once_and_nothing_is_made) {
  test::write_file(*folder_ / "torn.png", "no picture");
  test::write_file(*folder_ / "bad.jsonl",
                   R"({"name": "a", "inference_type": "image2world", "prompt": "", "input_path": "torn.png"})"
                   "\n"
                   R"({"name": "b", "inference_type": "video3world", "prompt": ""})"
                   "\n"
                   R"({"name": "c", "inference_type": "image2world", "prompt": "", "input_path": "torn.png"})"
                   "\n");
  std::filesystem::create_directories(at("none"));
  test::write_file(*folder_ / "none/a.json", "mine");
  for (const std::string& launcher : {std::string(), ranks(2)}) {
    const Result bad =
        run("generate -i " + at("bad.jsonl") + " -o " + at("none") + " --run=" + at("run"), launcher);
    EXPECT_EQ(bad.code, 2) << bad.text;
    EXPECT_THAT(bad.text,
                testing::AllOf(HasSubstr("3 problems"), HasSubstr("bad.jsonl:1: input_path: "),
                               HasSubstr("bad.jsonl:2: inference_type: "), HasSubstr("bad.jsonl:3: ")));
  }
  EXPECT_EQ(test::read_file(at("none/a.json")), "mine");
  EXPECT_EQ(test::files_in(at("none"), "", "").size(), 1u) << "the folder is as it was";
}

TEST_F(GenerateSamples, ranks_that_read_other_samples_are_refused) {
  for (const auto& [file, name] : {std::pair{"mine.jsonl", "mine"}, {"theirs.jsonl", "theirs"}})
    test::write_file(*folder_ / file,
                     std::string(R"({"name": ")") + name +
                         R"(", "inference_type": "text2world", "prompt": "", "num_steps": 1})");
  const std::string more = " -o " + at("other") + " --run=" + at("run");
  const Result refused =
      run("generate -i " + at("mine.jsonl") + more,
          ranks(1) + ORRERY_PROGRAM + " generate -i " + at("theirs.jsonl") + more + " : -n 1 ");
  EXPECT_EQ(refused.code, 2) << refused.text;
  EXPECT_THAT(refused.text, testing::AllOf(HasSubstr("what to generate differs"), HasSubstr("theirs")));
  EXPECT_FALSE(std::filesystem::exists(at("other")));
}

TEST_F(GenerateSamples, options_that_do_not_fit_are_refused) {
  for (const auto& [more, message] : std::vector<std::pair<std::string, std::string>>{
           {"--image=x.png", "does not go with -i"},
           {"--sample.guidance=3", "samples have --guidance"},
           {"--guidance 8", "--guidance: got 8"},
           {"--optim.beta1=0.5", "no effect on generate"},
           {"--model.blocks=3", "no effect on generate"},
           {"--model 2B/post-trained", "wanted one of them"},
           {"--disable-guardrails", "no guardrails here"},
           {"--seeed 3", "unknown setting"},
           {"--context_parallel_size=2", "do not divide into groups"}}) {
    const Result refused = make("refused", more);
    EXPECT_EQ(refused.code, 2) << more << refused.text;
    EXPECT_THAT(refused.text, HasSubstr(message)) << more;
  }
  const Result unknown = run("generate -i " + at("five.jsonl") + " -o " + at("refused") +
                             " --model 3B --checkpoint=" + at("run/checkpoints/step_000000002"));
  EXPECT_THAT(unknown.text, HasSubstr("known are 2B/pre-trained, 2B/post-trained"));
  EXPECT_THAT(run("generate --run=" + at("run") + " --resume --out=x.mp4").text, HasSubstr("-i FILE"));
}

TEST_F(GenerateSamples, a_film_that_cannot_be_written_is_told_at_the_end) {
  std::filesystem::create_directories(at("partly/left.mp4"));
  const Result result = make("partly");
  EXPECT_EQ(result.code, 1) << result.text;
  EXPECT_THAT(result.text, testing::AllOf(HasSubstr("films that failed"), HasSubstr("sample left")));
  EXPECT_TRUE(std::filesystem::exists(at("partly/right.mp4")));
  EXPECT_THAT(test::read_file(at("partly/index.html")), HasSubstr("1 failed"));
}

}  // namespace
}  // namespace orrery::cli
