#include "base/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <optional>

#include "base/error.h"

namespace orrery {
namespace {

class MetricsLogTest : public testing::Test {
 protected:
  ~MetricsLogTest() override { std::filesystem::remove(file_); }
  void write(const std::string& text) { std::ofstream(file_, std::ios::binary) << text; }
  std::string content() const {
    std::ifstream in(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  const std::filesystem::path file_ = testing::TempDir() + "metrics_" + std::to_string(getpid()) + ".jsonl";
};

TEST_F(MetricsLogTest, writes_one_flushed_object_a_line) {
  MetricsLog log(file_, 0);
  log.write(10, {{"loss", 0.1}, {"lr", 3e-5}});
  EXPECT_EQ(content(), "{\"step\":10,\"loss\":0.1,\"lr\":3e-05}\n");  // before the log is closed
  log.write(20, {{"loss", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_THAT(content(), testing::EndsWith("{\"step\":20,\"loss\":null}\n"));
}

TEST_F(MetricsLogTest, resume_drops_later_lines_and_a_torn_one) {
  write(
      "{\"step\":10,\"loss\":1}\n{\"step\":20,\"loss\":2}\nnonsense\n[1]\n{\"step\":\"x\"}\n{\"step\":30,"
      "\"loss\":3}\n{\"step\":20,\"lo");
  {
    MetricsLog log(file_, 20);
    log.write(30, {{"loss", 4}});
  }
  EXPECT_EQ(content(), "{\"step\":10,\"loss\":1}\n{\"step\":20,\"loss\":2}\n{\"step\":30,\"loss\":4.0}\n");
}

TEST_F(MetricsLogTest, unwritable_file_is_refused) {
  EXPECT_THROW(MetricsLog("/nowhere/metrics.jsonl", 0), Error);
}

TEST_F(MetricsLogTest, anything_but_a_regular_file_is_refused) {
  std::filesystem::create_symlink("/dev/zero", file_);
  EXPECT_THROW(MetricsLog(file_, 0), Error);
}

TEST_F(MetricsLogTest, a_line_that_does_not_reach_the_file_is_an_error) {
  MetricsLog log(file_, 0);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit tiny = {.rlim_cur = 8, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tiny);
  std::optional<Exit> code;
  try {
    log.write(1, {{"loss", 1}});
  } catch (const Error& error) {
    code = error.code();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, Exit::failure);
}

}  // namespace
}  // namespace orrery
