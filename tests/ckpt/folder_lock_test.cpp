#include "ckpt/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <optional>

#include "base/error.h"
#include "fixtures.h"

namespace orrery {
namespace {

using testing::HasSubstr;

std::string refusal(const std::filesystem::path& folder, const FolderLockOptions& options = {}) {
  try {
    const FolderLock lock(folder, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(FolderLock, a_second_job_is_refused_and_told_who_has_the_folder) {
  const test::ScratchFolder folder;
  std::optional<FolderLock> lock(std::in_place, folder.path());
  EXPECT_THAT(refusal(folder.path()),
              testing::AllOf(HasSubstr("another job"), HasSubstr(text_of("process ", getpid()))));
  lock.reset();
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(FolderLock, a_killed_job_holds_nothing) {
  const test::ScratchFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_NE(refusal(folder.path()), "");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(refusal(folder.path()), "");
}

// Where flock does not reach from host to host, the heartbeat tells.
TEST(FolderLock, another_hosts_lock_is_taken_only_when_its_heart_stands_still) {
  const test::ScratchFolder folder;
  const auto foreign = [&](int beat) {
    test::write_file(folder / "lock", text_of("held elsewhere another-boot 42 ", beat, "\n"));
  };
  foreign(7);
  std::atomic<bool> done = false;
  std::thread holder([&] {
    for (int beat = 8; !done; ++beat) {
      foreign(beat);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  EXPECT_THAT(refusal(folder.path(), {.heartbeat_s = 0.05, .watch_s = 20}),
              HasSubstr("process 42 on elsewhere"));
  done = true;
  holder.join();
  EXPECT_EQ(refusal(folder.path(), {.heartbeat_s = 0.05, .watch_s = 0.3}), "");
}

// Both found it free, on hosts that do not share flock: the last to write has it.
TEST(FolderLock, of_two_newcomers_the_first_learns_that_it_lost) {
  const test::ScratchFolder folder;
  FolderLock lock(folder.path(), {.heartbeat_s = 0.02, .watch_s = 1});
  lock.require_held();
  test::write_file(folder / "lock", "held elsewhere another-boot 42 1\n");
  std::string reason;
  for (int i = 0; i < 500 && reason.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    try {
      lock.require_held();
    } catch (const Error& error) {
      reason = error.what();
    }
  }
  EXPECT_THAT(reason, HasSubstr("process 42 on elsewhere"));
  EXPECT_THAT(test::read_file(folder / "lock"), HasSubstr("42 1"))
      << "what another job holds is not written to";
}

TEST(FolderLock, rubbish_in_the_file_is_no_holder) {
  const test::ScratchFolder folder;
  for (const std::string& text : {std::string(), std::string("\0\0\0", 3), std::string(5000, 'x')}) {
    test::write_file(folder / "lock", text);
    EXPECT_EQ(refusal(folder.path(), {.watch_s = 20}), "");
  }
}

}  // namespace
}  // namespace orrery
