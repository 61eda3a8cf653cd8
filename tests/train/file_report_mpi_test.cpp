#include "train/file_report.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "world.h"

namespace orrery {
namespace {

// Ten films of which nothing is ever read.
struct TenFilms final : Dataset {
  int64_t size() const override { return 10; }
  std::string name(int64_t index) const override { return text_of("film_", index, ".mp4"); }
  ClipShape shape(int64_t) const override { return {}; }
  std::vector<ClipShape> shapes() const override { return {ClipShape{}}; }
  Clip item(int64_t, const Rng&, const std::stop_token&) const override { fail("not read here"); }
};

struct FileReportTest : testing::Test {
  FileReportTest() {
    config.train.run_dir = folder.path();
    log = std::make_unique<RunLog>(config, test_world(), 0);
  }
  FileReport report(double max_bad_fraction) {
    return FileReport({{std::make_shared<TenFilms>(), 4, 1}}, max_bad_fraction);
  }
  static BadFile film(int64_t index) {
    return {0, index, text_of("film_", index, ".mp4"), "cut \xff short\n"};
  }

  test::ScratchFolder folder;
  Config config;
  std::unique_ptr<RunLog> log;
};

TEST_F(FileReportTest, files_of_other_ranks_count_and_the_same_file_counts_once) {
  FileReport report = this->report(0.25);
  const int rank = test_world().rank();
  if (rank > 0) report.add(film(3), FileReport::Kind::skipped);
  report.add(film(5), FileReport::Kind::skipped);
  report.add(film(6), FileReport::Kind::damaged);  // damaged films gave a clip: they do not count
  EXPECT_NO_THROW(report.exchange(test_world().comm(), *log));
  if (rank == 1) report.add(film(7), FileReport::Kind::skipped);
  try {
    report.exchange(test_world().comm(), *log);  // the third of ten
    ADD_FAILURE() << "accepted 3 bad files of 10 at 0.25";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_data);
    for (const char* name : {"film_3.mp4", "film_5.mp4", "film_7.mp4"})
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace orrery
