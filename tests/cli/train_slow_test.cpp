// orrery train from outside, alone and under mpirun: films in, run folder out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/config.h"
#include "base/error.h"
#include "cli/options.h"
#include "cli/program.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kTwoRanks = ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n 2 ";

std::string file_text(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

class TrainTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = testing::TempDir() + "train_" + std::to_string(getpid());
    const Result demo =
        run("demo-data --out=" + folder_ + "/data --clips=6 --held_out=2 --frames=5 --height=32 --width=32");
    ASSERT_EQ(demo.code, 0) << demo.text;
    std::ofstream(folder_ + "/recipe.ini")
        << "[model]\npreset = nano\n[data]\npath = " << folder_
        << "/data/train\nframes = 5\nheight = 32\nwidth = 32\n"
        << "[tokenizer]\nchannels = 8\n[train]\nsteps = 4\nbatch = 4\nlog_every = 1\n"
        << "[ckpt]\nevery = 2\n[sample]\nevery = 0\nsteps = 1\npath = " << folder_
        << "/data/held_out\nfinal_clips = 2\n";
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }

  static Result train(const std::string& run_dir, const std::string& more = "",
                      const std::string& launcher = "") {
    return run("train " + folder_ + "/recipe.ini --train.run_dir=" + folder_ + "/" + run_dir + " " + more,
               launcher);
  }
  static std::vector<nlohmann::json> metrics(const std::string& run_dir) {
    std::istringstream in(file_text(folder_ + "/" + run_dir + "/metrics.jsonl"));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) {
      const auto parsed = nlohmann::json::parse(line);
      if (parsed.contains("loss")) lines.push_back(parsed);  // the others are about checkpoints
    }
    return lines;
  }
  static void expect_same_curve(const std::string& a, const std::string& b, double tolerance) {
    const auto first = metrics(a), second = metrics(b);
    ASSERT_EQ(first.size(), second.size());
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(first[i].at("step"), second[i].at("step"));
      const double loss = first[i].at("loss");
      EXPECT_NEAR(loss, second[i].at("loss"), tolerance * loss) << "step " << i + 1;
    }
  }
  static inline std::string folder_;
};

TEST_F(TrainTest, starts_from_weights_of_a_run_strictly_or_leaves_out_aloud_what_a_pattern_names) {
  ASSERT_EQ(train("parent").code, 0);
  const std::string load = "--ckpt.load=" + folder_ + "/parent ";
  const Result strict = train("child", load);
  EXPECT_EQ(strict.code, 0) << strict.text;
  EXPECT_THAT(strict.text, HasSubstr("loaded "));
  const std::string wider = load + "--model.blocks=3 ";
  EXPECT_EQ(train("wider", wider).code, 2);
  const Result partial = train("wider", wider + "'--ckpt.partial=blocks.2.*' ", kTwoRanks);
  EXPECT_EQ(partial.code, 0) << partial.text;
  EXPECT_THAT(partial.text, testing::AllOf(HasSubstr("left out, as asked"), HasSubstr("blocks.2.self_attn")));
  const Result idle = train("idle", load + "'--ckpt.partial=nothing*'");
  EXPECT_EQ(idle.code, 2) << idle.text;
  EXPECT_EQ(train("alone", "'--ckpt.partial=blocks.*'").code, 2);
}

TEST_F(TrainTest, leaves_a_run_folder_that_explains_itself) {
  const Result result = train("one");
  ASSERT_EQ(result.code, 0) << result.text;
  EXPECT_THAT(result.text, HasSubstr("step 4/4  loss "));
  Config config;
  read_ini(folder_ + "/one/config.ini", settings_of(config));
  EXPECT_EQ(config.train.steps, 4);
  EXPECT_EQ(config.model.preset, "nano");
  const auto lines = metrics("one");
  ASSERT_EQ(lines.size(), 4u);
  for (const std::string key : {"step", "loss", "lr", "grad_norm", "step_ms"})
    EXPECT_TRUE(lines[0].at(key).is_number()) << key;
  EXPECT_EQ(nlohmann::json::parse(file_text(folder_ + "/one/run.json")).at("ranks"), 1);
  const auto summary = nlohmann::json::parse(file_text(folder_ + "/one/summary.json"));
  for (const std::string key : {"psnr_model_db", "psnr_repeat_db", "ssim_model", "ssim_repeat",
                                "prompt_obeyed", "clips", "train_seconds"}) {
    EXPECT_TRUE(summary.at(key).is_number()) << key;
  }
}

TEST_F(TrainTest, two_ranks_follow_the_curve_of_one) {
  ASSERT_EQ(train("alone").code, 0);
  const Result pair = train("pair", "", kTwoRanks);
  ASSERT_EQ(pair.code, 0) << pair.text;
  expect_same_curve("alone", "pair", 1e-6);
}

TEST_F(TrainTest, resumes_where_it_stopped) {
  ASSERT_EQ(train("whole").code, 0);
  ASSERT_EQ(train("halves", "--train.steps=2").code, 0);
  const Result rest = train("halves");
  ASSERT_EQ(rest.code, 0) << rest.text;
  EXPECT_THAT(rest.text, HasSubstr("resumed after step 2"));
  expect_same_curve("whole", "halves", 0);
  EXPECT_EQ(train("halves", "--train.resume=never").code, 2);
}

// The launcher gets SIGUSR1 once the first step is logged.
TEST_F(TrainTest, a_signal_ends_the_run_with_a_checkpoint_that_it_goes_on_from) {
  for (const auto& [name, ranks] : {std::pair{"stopped", std::string()}, {"stopped_pair", kTwoRanks}}) {
    const std::string log = folder_ + "/" + name + "/metrics.jsonl";
    const std::string launcher =
        "sh -c '\"$@\" & run=$!; tail --retry -n +1 -f " + log +
        " 2> /dev/null | head -n 1 > /dev/null; kill -USR1 $run; wait $run' launcher " + ranks;
    const Result stopped = train(name, "--train.steps=100000", launcher);
    EXPECT_EQ(stopped.code, 6) << stopped.text;
    EXPECT_THAT(stopped.text, HasSubstr("as a signal asked; the same command goes on from there"));
    const int64_t done = metrics(name).back().at("step");
    const Result rest = train(name, text_of("--train.steps=", done + 1), ranks);
    EXPECT_EQ(rest.code, 0) << rest.text;
    EXPECT_THAT(rest.text, HasSubstr(text_of("resumed after step ", done, "\n")));
  }
}

TEST_F(TrainTest, a_refused_run_ends_with_2_and_one_message) {
  for (const std::string& launcher : {std::string(), std::string(kTwoRanks)}) {
    for (const auto& [option, message] : {std::pair{"--train.stepz=1", "did you mean train.steps"},
                                          {"--train.steps=0", "train.steps: got \"0\""},
                                          {"--data.frames=6", "data.frames: got \"6\""},
                                          {"--data.path=/nowhere", "/nowhere"},
                                          {"--model.preset=huge", "huge"}}) {
      const Result result = train("refused", option, launcher);
      EXPECT_EQ(result.code, 2) << result.text;
      const size_t first = result.text.find(message);
      ASSERT_NE(first, std::string::npos) << result.text;
      EXPECT_EQ(result.text.find("orrery: ", result.text.find("orrery: ") + 1), std::string::npos)
          << result.text;
    }
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/refused/config.ini"));
}

TEST_F(TrainTest, generate_makes_the_same_film_again_and_refuses_what_does_not_fit) {
  ASSERT_EQ(train("model").code, 0);
  const std::string base = "generate --run=" + folder_ + "/model --film=" + folder_ +
                           "/data/held_out/videos/0006.mp4 --prompt='push it left' --out=" + folder_;
  const Result first = run(base + "/a.mp4"), again = run(base + "/b.mp4"),
               other = run(base + "/c.mp4 --seed=5");
  ASSERT_EQ(first.code, 0) << first.text;
  ASSERT_EQ(again.code, 0);
  ASSERT_EQ(other.code, 0);
  EXPECT_EQ(file_text(folder_ + "/a.mp4"), file_text(folder_ + "/b.mp4"));
  EXPECT_NE(file_text(folder_ + "/a.mp4"), file_text(folder_ + "/c.mp4"));
  for (const auto& [option, message] : {std::pair{"--optim.beta1=0.5", "no effect on generate"},
                                        {"--image=x.png", "wanted one of them"},
                                        {"--sample.condition_frames=9", "frames"},
                                        {"--checkpoint=/nowhere", "/nowhere"}}) {
    const Result refused = run(base + "/d.mp4 " + option);
    EXPECT_EQ(refused.code, 2) << refused.text;
    EXPECT_THAT(refused.text, HasSubstr(message));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/d.mp4"));
  const Result figures = run("generate --run=" + folder_ + "/model --evaluate=" + folder_ +
                             "/data/held_out --clips=2 --out=" + folder_ + "/figures");
  EXPECT_EQ(figures.code, 0) << figures.text;
  EXPECT_THAT(figures.text,
              testing::AllOf(HasSubstr("clips 2"), HasSubstr("psnr_model_db"), HasSubstr("psnr_repeat_db")));
}

TEST_F(TrainTest, memory_of_each_rank_is_logged_beside_the_plan_and_agrees_with_it) {
  const Result result = train("memory", "--parallel.shard=2", kTwoRanks);
  ASSERT_EQ(result.code, 0) << result.text;
  EXPECT_THAT(result.text, HasSubstr("plan fits: "));
  std::istringstream in(file_text(folder_ + "/memory/memory.jsonl"));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_GE(lines.size(), 3u) << "the plan and two ranks";
  EXPECT_EQ(lines[0].at("planned"), 1);
  const double planned = lines[0].at("total_mib");
  for (size_t i = 1; i < lines.size(); ++i)
    EXPECT_NEAR(lines[i].at("total_mib").get<double>(), planned, 0.05 * planned);
  EXPECT_GT(metrics("memory").back().at("memory.optimizer_mib").get<double>(), 0);
}

TEST_F(TrainTest, a_run_that_does_not_fit_ends_with_4_before_it_starts_and_shows_the_plan) {
  const Result result = train("too_big", "--memory.limit_gib=0.1");
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.text, HasSubstr("the run does not fit: "));
  EXPECT_THAT(result.text, HasSubstr("no layout of these ranks fits"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/too_big/config.ini"));
}

TEST_F(TrainTest, auto_recompute_takes_its_budget_from_the_plan) {
  const Result result = train("auto", "--memory.policy=auto");
  ASSERT_EQ(result.code, 0) << result.text;
  EXPECT_THAT(result.text, HasSubstr("memory.policy=auto: blocks 0 to"));
}

}  // namespace
}  // namespace orrery::cli
