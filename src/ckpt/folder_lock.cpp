#include "ckpt/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/progress.h"

namespace orrery {
namespace {

// Fixed length, so that a beat replaces the one before in one write.
constexpr size_t kLineBytes = 256;

std::string host_name() {
  std::array<char, 65> name{};
  ::gethostname(name.data(), name.size() - 1);
  std::string text = name.data();
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

// Tells two boots of a host apart, and two containers of one name on different machines.
std::string boot_id() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  in >> id;
  return id.empty() ? "unknown" : id;
}

std::string content(int fd) {
  std::string text(kLineBytes, '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

}  // namespace

struct FolderLock::Line {
  std::string state, host, boot, pid, beats;  // state: held or free
};

FolderLock::Line FolderLock::line_of(const std::string& text) {
  std::istringstream in(text);
  Line line;
  in >> line.state >> line.host >> line.boot >> line.pid >> line.beats;
  return line;
}

FolderLock::FolderLock(const std::filesystem::path& folder, const FolderLockOptions& options)
    : path_(folder / "lock"), options_(options) {
  holder_ = text_of(host_name(), ' ', boot_id(), ' ', ::getpid());
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(fd_ >= 0, path_.string(), ": cannot be opened: ", std::strerror(errno));
  const auto refuse = [&](const Line& line) {
    ::close(fd_);
    fail(folder.string(), ": another job runs in this folder: process ", line.pid, " on ", line.host,
         " (wait until it ends, or choose another folder)");
  };
  const bool is_locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
  const bool is_taken = !is_locked && errno == EWOULDBLOCK;  // else this file system has no such locks
  const Line before = line_of(content(fd_));
  if (is_taken) refuse(before);
  // With flock, a line of this boot of this host was left by a dead process.
  const bool is_from_here = is_locked && before.boot == boot_id();
  const bool must_watch = before.state == "held" && !is_from_here;
  if (must_watch && differs_within(options_.watch_s, before)) refuse(line_of(content(fd_)));
  write("held");
  // Another newcomer may have watched the same dead lock: the last to write has it.
  const Line mine = line_of(content(fd_));
  if (must_watch && differs_within(options_.heartbeat_s, mine)) refuse(line_of(content(fd_)));
  thread_ = std::thread([this] { beat(); });
}

// Whether the line of the file changes within this time.
bool FolderLock::differs_within(double seconds, const Line& line) const {
  const double until = steady_seconds() + seconds;
  while (steady_seconds() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const Line now = line_of(content(fd_));
    if (now.pid != line.pid || now.host != line.host || now.beats != line.beats) return true;
  }
  return false;
}

FolderLock::~FolderLock() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_all();
  thread_.join();
  if (!is_lost_) write("free");
  ::close(fd_);
}

// A beat that cannot be written (disk full) is left out: the lock may then be lost to another host, which the
// flock still prevents where it is shared.
void FolderLock::write(const std::string& state) {
  std::string line = text_of(state, ' ', holder_, ' ', beats_++);
  line.resize(kLineBytes - 1, ' ');
  line += '\n';
  // Synced, or a network file system keeps it on this host for a while.
  if (::pwrite(fd_, line.data(), line.size(), 0) > 0) static_cast<void>(::fdatasync(fd_));
}

// The file is opened anew: only then do network file systems look at what others wrote.
void FolderLock::notice_other_holder() {
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  const Line line = line_of(content(fd));
  ::close(fd);
  if (line.state != "held" || text_of(line.host, ' ', line.boot, ' ', line.pid) == holder_) return;
  lost_to_ = text_of("process ", line.pid, " on ", line.host);
  is_lost_ = true;
}

void FolderLock::beat() {
  std::unique_lock lock(mutex_);
  const auto period = std::chrono::duration<double>(options_.heartbeat_s);
  while (!wake_.wait_for(lock, period, [this] { return done_; })) {
    notice_other_holder();
    if (is_lost_) return;
    write("held");
  }
}

void FolderLock::require_held() {
  if (is_lost_)
    fail(path_.string(), ": another job has taken this folder: ", lost_to_, " (two jobs with one folder?)");
}

}  // namespace orrery
