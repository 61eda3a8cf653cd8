#pragma once
// Runs the built program.
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace orrery::cli {

struct Result {
  int code;          // exit status; -1: killed
  std::string text;  // standard output and standard error together
};

// launcher: what stands before the program's name, such as "mpirun -n 2 ".
inline Result run(const std::string& arguments, const std::string& launcher = "") {
  const std::string command =
      "OMP_NUM_THREADS=1 " + launcher + ORRERY_PROGRAM " " + arguments + " 2>&1 < /dev/null";
  FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) return {-1, "popen failed"};
  Result result{};
  std::array<char, 4096> buffer;
  for (size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    result.text.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace orrery::cli
