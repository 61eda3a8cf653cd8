// What the fault points of the program do in `orrery_faults`:
//   ORRERY_FAULT=POINT:OCCURRENCE:RANK:kill|throw|delay   at its n-th pass (from 1) of that point, this rank
//   dies,
//                                                         throws as a full disk would make it, or waits for
//                                                         0.4 s
//   ORRERY_FAULT_LOG=FILE                           a line "RANK POINT" for each pass, appended
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"
#include "ckpt/fault_point.h"

namespace orrery {
namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string my_rank() {
  const std::string rank = environment("OMPI_COMM_WORLD_RANK");
  return rank.empty() ? "0" : rank;
}

struct Fault {
  std::string point, occurrence, rank, action;
};

Fault parse(const std::string& text) {
  Fault fault;
  std::istringstream in(text);
  std::getline(in, fault.point, ':');
  std::getline(in, fault.occurrence, ':');
  std::getline(in, fault.rank, ':');
  std::getline(in, fault.action, ':');
  return fault;
}

void log_pass(std::string_view name) {
  static const std::string path = environment("ORRERY_FAULT_LOG");
  if (path.empty()) return;
  const std::string line = my_rank() + " " + std::string(name) + "\n";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  require(fd >= 0 && ::write(fd, line.data(), line.size()) > 0, path, ": cannot be written");
  ::close(fd);
}

}  // namespace

void fault_point(std::string_view name) {
  static const Fault fault = parse(environment("ORRERY_FAULT"));
  static std::mutex mutex;
  static std::map<std::string, int, std::less<>> passes;
  const std::lock_guard lock(mutex);
  log_pass(name);
  if (name != fault.point || my_rank() != fault.rank) return;
  if (std::to_string(++passes[std::string(name)]) != fault.occurrence) return;
  if (fault.action == "kill") ::raise(SIGKILL);
  if (fault.action == "delay") {
    constexpr unsigned kMicroseconds = 400000;
    ::usleep(kMicroseconds);
    return;
  }
  throw Error(text_of("injected at ", name), Exit::failure);
}

}  // namespace orrery
