// orrery bench as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "fixtures.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kSmall = "bench train --model.preset=nano --shape=5x32x32 --warm-up=1 --steps=3 ";

TEST(BenchCommand, prints_figures_that_fit_together_and_adds_a_line_of_json) {
  const test::ScratchFolder folder;
  const std::string file = (folder / "bench.jsonl").string();
  const Result bench = run(kSmall + ("--train.batch=2 --json=" + file));
  ASSERT_EQ(bench.code, 0) << bench.text;
  for (const char* word : {"step, median", "MFU", "HFU", "tokens", "exposed communication", "peak memory",
                           "blocks.*.self_attn.attention", "planned"})
    EXPECT_THAT(bench.text, HasSubstr(word));
  std::ifstream in(file);
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  const auto json = nlohmann::json::parse(line);
  const std::vector<double> ms = json["step_ms"];
  ASSERT_EQ(ms.size(), 3U);
  EXPECT_GE(json["median_ms"].get<double>(), *std::min_element(ms.begin(), ms.end()));
  EXPECT_LE(json["median_ms"].get<double>(), *std::max_element(ms.begin(), ms.end()));
  double sum = 0;
  for (const auto& row : json["rows"]) sum += row["ms"].get<double>();
  EXPECT_LE(sum, json["profiled_ms"].get<double>());
  EXPECT_GE(sum, 0.5 * json["profiled_ms"].get<double>());  // all of it but for a busy machine
  EXPECT_GT(json["memory"]["memory.total_mib"].get<double>(), 1);
}

TEST(BenchCommand, runs_on_the_ranks_of_a_context_group_and_finds_their_waits) {
  const Result bench = run(kSmall + std::string("--parallel.context=2 --rows=200"),
                           ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n 2 ");
  ASSERT_EQ(bench.code, 0) << bench.text;
  EXPECT_THAT(bench.text, HasSubstr("1 x 1 x 2"));
  EXPECT_THAT(bench.text, HasSubstr("wait  all_gather 'gather blocks.*'"));
  EXPECT_THAT(bench.text, HasSubstr("wait  all_to_all"));
}

TEST(BenchCommand, recompute_shows_in_the_table_and_in_hfu) {
  const Result bench = run(kSmall + std::string("--memory.policy=full --rows=500"));
  ASSERT_EQ(bench.code, 0) << bench.text;
  EXPECT_THAT(bench.text, HasSubstr("recompute  blocks.*.mlp.layer1.linear"));
}

TEST(BenchCommand, ranks_make_a_film_together_in_every_layout) {
  for (const auto& [arguments, ranks, words] :
       {std::tuple{"", 1, "1 rank: 1 share the frames"},
        {"", 2, "2 ranks: 2 share the frames"},
        {"--branches=2 ", 2, "1 share the frames, branches at once"}}) {
    const Result bench =
        run("bench film --model.preset=nano --shape=5x32x32 --steps=2 --rows=200 " + std::string(arguments),
            ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n " + std::to_string(ranks) +
                " ");
    ASSERT_EQ(bench.code, 0) << bench.text;
    EXPECT_THAT(bench.text, HasSubstr(words));
    EXPECT_THAT(bench.text, HasSubstr("forward  blocks.*.mlp.layer1.linear"));
  }
}

TEST(BenchCommand, operations_are_held_against_their_floors) {
  const Result bench = run("bench ops --model.preset=nano --shape=5x64x64 --filter=attention --repeats=2");
  ASSERT_EQ(bench.code, 0) << bench.text;
  EXPECT_THAT(bench.text, HasSubstr("floor %"));
  EXPECT_THAT(bench.text, HasSubstr("attention, self"));
  EXPECT_THAT(bench.text, testing::Not(HasSubstr("gelu")));
}

TEST(BenchCommand, ranks_share_the_rows_of_the_autoencoders_film) {
  const test::ScratchFolder folder;
  const std::string file = (folder / "bench.jsonl").string();
  const Result bench =
      run("bench vae --shape=5x24x16 --tokenizer.width=4 --repeats=2 --rows=500 --json=" + file,
          ORRERY_MPIRUN " --allow-run-as-root --oversubscribe --bind-to none -n 2 ");
  ASSERT_EQ(bench.code, 0) << bench.text;
  for (const char* word : {"2 ranks", "median ms", "decoder.upsamples.14.residual.6.conv3d",
                           "wait  all_to_all 'rows of neighbours'", "wait  all_gather 'rows of all ranks'"})
    EXPECT_THAT(bench.text, HasSubstr(word));
  std::ifstream in(file);
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  EXPECT_EQ(nlohmann::json::parse(line)["ranks"], 2);
}

TEST(BenchCommand, wrong_shapes_and_parts_are_refused) {
  for (const char* arguments :
       {"bench train --shape=5x32", "bench train --shape=5x32x32x1", "bench train --shape=0x32x32",
        "bench train --shape=big", "bench train --shape=6x32x32 --model.preset=nano", "bench drain", "bench"})
    EXPECT_EQ(run(arguments).code, 2) << arguments;
  EXPECT_EQ(run("bench train --help").code, 0);
}

}  // namespace
}  // namespace orrery::cli
