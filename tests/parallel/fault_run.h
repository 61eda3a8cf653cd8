#pragma once
// Runs fault_ranks on four ranks and says how it ended.
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace orrery {

struct FaultRun {
  std::string output;
  int code = 0;
  double seconds = 0;  // from the failing rank's last words to the end of mpirun
  int lines_with(std::string_view text) const {
    int count = 0;
    for (size_t at = output.find(text); at != std::string::npos; at = output.find(text, at + 1)) ++count;
    return count;
  }
};

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// In a build tree it lies in a folder beside the test, in a bundle (launch/pack.sh) right beside it.
inline std::string fault_program() {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto built = folder / "parallel" / FAULT_PROGRAM;
  return (std::filesystem::exists(built) ? built : folder / FAULT_PROGRAM).string();
}

inline FaultRun run_fault(const std::string& mode, int culprit) {
  FaultRun run;
  const std::string command = text_of("OMP_NUM_THREADS=1 timeout -s KILL 60 ", FAULT_LAUNCHER, " ",
                                      fault_program(), " ", mode, " ", culprit, " 2>&1");
  std::FILE* pipe = ::popen(command.c_str(), "r");
  require(pipe != nullptr, "cannot run ", command);
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) run.output.append(buffer, n);
  const int status = ::pclose(pipe);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  constexpr std::string_view mark = "failing at ";
  const size_t at = run.output.find(mark);
  run.seconds = at == std::string::npos ? 1e9 : now_s() - std::stod(run.output.substr(at + mark.size()));
  return run;
}

}  // namespace orrery
