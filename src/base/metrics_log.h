#pragma once
// MetricsLog: a file of one JSON object a line, each with its "step". Survives a crash (whole lines, each
// flushed) and a resume (lines after the resumed step go).
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace orrery {

using Metrics = std::vector<std::pair<std::string, double>>;  // in the order of the line

class MetricsLog {
 public:
  // Keeps the lines of steps <= last_step that the file already has; drops later ones and anything that is
  // not such an object. Throws Error if the file cannot be read or written.
  MetricsLog(std::filesystem::path file, int64_t last_step);

  // {"step": 120, "loss": 0.123, ...}. NaN and infinities become null: JSON has no word for them. Throws
  // Error (Exit::failure) if the line does not reach the file.
  void write(int64_t step, const Metrics& metrics);

 private:
  std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace orrery
