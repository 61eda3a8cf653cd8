// The built program from outside: what it prints and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/version.h"
#include "cli/program.h"

namespace orrery::cli {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class ProgramTest : public testing::Test {
 protected:
  ~ProgramTest() override { std::filesystem::remove_all(folder_); }
  const std::string folder_ = testing::TempDir() + "program_" + std::to_string(getpid());
};

TEST_F(ProgramTest, without_or_with_an_unknown_subcommand_shows_the_list_and_ends_with_2) {
  const Result none = run(""), unknown = run("trian"), help = run("--help");
  EXPECT_EQ(none.code, 2);
  EXPECT_EQ(unknown.code, 2);
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(unknown.text, StartsWith("orrery: unknown subcommand \"trian\""));
  for (const auto& text : {none.text, unknown.text, help.text})
    EXPECT_THAT(text, HasSubstr("usage: orrery SUBCOMMAND"));
}

TEST_F(ProgramTest, every_listed_subcommand_has_its_help) {
  std::istringstream lines(run("--help").text);
  int found = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) continue;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    const Result help = run(name + " --help");
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_THAT(help.text, AllOf(StartsWith("orrery " + name + ": "), HasSubstr("usage: orrery " + name)));
    const Result wrong = run(name + " --no_such_setting=1");
    EXPECT_EQ(wrong.code, 2) << name;
    EXPECT_THAT(wrong.text, HasSubstr("unknown setting \"no_such_setting\"")) << name;
    ++found;
  }
  EXPECT_GE(found, 5);
}

TEST_F(ProgramTest, version_names_program_commit_and_libraries) {
  const Result result = run("version");
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.text,
              AllOf(StartsWith("orrery " + std::string(version())), HasSubstr(std::string(git_commit())),
                    HasSubstr("LibTorch"), HasSubstr("CUDA"), HasSubstr("g++")));
}

TEST_F(ProgramTest, doctor_checks_this_machine_and_fails_where_something_is_missing) {
  const Result here = run("doctor --run_dir=" + folder_);
  EXPECT_EQ(here.code, 0) << here.text;
  EXPECT_THAT(here.text,
              AllOf(HasSubstr("processor"), HasSubstr("FFmpeg"), HasSubstr("MPI"), HasSubstr("run folder")));
  const Result unwritable = run("doctor --run_dir=/proc/self");
  EXPECT_EQ(unwritable.code, 1);
  EXPECT_THAT(unwritable.text, HasSubstr("FAIL  run folder"));
}

TEST_F(ProgramTest, parity_ends_with_2_for_a_broken_file_and_counts_it) {
  const Result none = run("parity"), broken = run("parity /nowhere/case.safetensors");
  EXPECT_EQ(none.code, 2);
  EXPECT_EQ(broken.code, 2);
  EXPECT_THAT(broken.text, EndsWith("0 passed, 1 failed\n"));
  EXPECT_EQ(run("parity --device=tpu x").code, 2);
  const Result good = run("parity " ORRERY_SOURCE_DIR "/tests/golden/dit_op_adaln.safetensors");
  EXPECT_EQ(good.code, 0);
  EXPECT_THAT(good.text, EndsWith("1 passed, 0 failed\n"));
}

TEST_F(ProgramTest, forward_wants_two_files) {
  EXPECT_EQ(run("forward").code, 2);
  EXPECT_EQ(run("forward a b c").code, 2);
  EXPECT_EQ(run("forward /nowhere/in /nowhere/out").code, 2);
}

TEST_F(ProgramTest, tokenize_names_bad_lines_and_passes_over_blank_ones) {
  std::filesystem::create_directories(folder_);
  const auto tokenize = [&](const std::string& lines) {
    std::ofstream(folder_ + "/lines") << lines;
    return run("tokenize --tokenizer=" ORRERY_SOURCE_DIR "/tests/golden/tok_toy.json",
               "bash -c '\"$0\" \"$@\" < " + folder_ + "/lines' ");
  };
  const Result good = tokenize("{\"text\":\"a\"}\n\n{\"text\":\"\"}\n \r\n");
  EXPECT_EQ(good.code, 0) << good.text;
  EXPECT_EQ(std::count(good.text.begin(), good.text.end(), '\n'), 2) << good.text;
  const Result bad = tokenize("{\"text\":\"a\",\"text\":\"b\"}\n{\"text\":7}\n{\"txt\":\"a\"}\n[]\n{\n");
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.text,
              AllOf(HasSubstr("line 1 is not a JSON object in UTF-8: \"text\" comes twice"),
                    HasSubstr("line 2 has a \"text\" that is no string, got: number"),
                    HasSubstr("line 3 has no \"text\""), HasSubstr("line 4 is no JSON object, got: array"),
                    HasSubstr("line 5 is not a JSON object in UTF-8"), HasSubstr("5 bad lines")));
}

TEST_F(ProgramTest, demo_data_writes_films_once) {
  const std::string command =
      "demo-data --out=" + folder_ + " --clips=1 --held_out=1 --frames=2 --height=16 --width=16";
  const Result first = run(command);
  EXPECT_EQ(first.code, 0) << first.text;
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/train/videos/0000.mp4"));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/episodes.hdf5"));
  EXPECT_EQ(run(command).code, 2);
  EXPECT_EQ(run("demo-data").code, 2);
}

}  // namespace
}  // namespace orrery::cli
