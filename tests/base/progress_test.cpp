#include "base/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <sstream>

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Bench {
  double now = 0;
  std::ostringstream out;
  ProgressOptions options(int columns) {
    return {.total = 400, .columns = [columns] { return columns; }, .seconds = [this] { return now; }};
  }
};

TEST(Progress, plain_output_has_a_whole_line_for_each_report_and_none_for_steps) {
  Bench bench;
  Progress progress(bench.out, bench.options(0));
  for (int step = 1; step <= 20; ++step) {
    bench.now += 0.5;
    if (step % 10 == 0)
      progress.report(step, "loss 0.25");
    else
      progress.step(step, "loss 0.5");
  }
  EXPECT_EQ(bench.out.str(),
            "step 10/400  loss 0.25  2 steps/s  ETA 3:15\n"
            "step 20/400  loss 0.25  2 steps/s  ETA 3:10\n");
}

TEST(Progress, terminal_redraws_one_line_within_its_width) {
  Bench bench;
  {
    Progress progress(bench.out, bench.options(100));
    bench.now = 10;
    progress.report(100, "loss 0.25");
    EXPECT_EQ(bench.out.str(),
              "\r\x1b[K[======>                 ] 100/400  25%  loss 0.25  10 steps/s  ETA 0:30");
    bench.now += 0.01;
    progress.step(101, "loss 0.25");
    EXPECT_THAT(bench.out.str(), Not(HasSubstr("101/400")));  // too soon to redraw
    bench.now += 0.2;
    progress.step(102, "loss 0.25");
    EXPECT_THAT(bench.out.str(), HasSubstr("102/400"));
  }
  EXPECT_EQ(bench.out.str().back(), '\n');
  for (const int columns : {1, 2, 20, 60, 80, 200}) {
    Bench narrow;
    {
      Progress progress(narrow.out, narrow.options(columns));
      narrow.now = 1e6;
      progress.report(400, "loss 0.123456");
    }
    const std::string text = narrow.out.str();
    EXPECT_LT(text.size() - std::string("\r\x1b[K\n").size(), static_cast<size_t>(columns)) << text;
  }
}

TEST(Progress, notes_stand_above_the_bar) {
  Bench bench;
  Progress progress(bench.out, bench.options(100));
  bench.now = 1;
  progress.step(1, "loss 1");
  progress.note("saved");
  EXPECT_THAT(bench.out.str(), HasSubstr("\r\x1b[Ksaved\n\r\x1b[K[>"));
}

TEST(Progress, rate_of_a_resumed_run_counts_its_own_steps) {
  Bench bench;
  ProgressOptions options = bench.options(0);
  options.done = 200;
  Progress progress(bench.out, options);
  bench.now = 20;
  progress.report(210, "loss 1");
  EXPECT_THAT(bench.out.str(), HasSubstr("210/400  loss 1  2 s/step  ETA 6:20"));
}

TEST(Progress, only_a_terminal_has_columns) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  EXPECT_EQ(terminal_columns(ends[1]), 0);
  EXPECT_EQ(terminal_columns(-1), 0);
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) GTEST_SKIP() << "no pseudo-terminal";
  const winsize size = {.ws_row = 24, .ws_col = 93, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(ioctl(terminal, TIOCSWINSZ, &size), 0);
  const int inner = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  EXPECT_EQ(terminal_columns(inner), 93);
  for (const int fd : {ends[0], ends[1], terminal, inner}) close(fd);
}

TEST(Progress, clock_texts) {
  EXPECT_EQ(clock_text(0.4), "0:00");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(3605), "1:00:05");
  EXPECT_EQ(clock_text(86400), "1 day 0:00:00");
  EXPECT_EQ(clock_text(2 * 86400 + 3661), "2 days 1:01:01");
  EXPECT_EQ(clock_text(-1), "0:00");
  EXPECT_EQ(clock_text(1e300), "?");
}

}  // namespace
}  // namespace orrery
