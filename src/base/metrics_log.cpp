#include "base/metrics_log.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace orrery {
namespace {

bool keep(const std::string& line, int64_t last_step) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) return false;
  const auto step = object.find("step");
  return step != object.end() && step->is_number_integer() && step->get<int64_t>() <= last_step;
}

// Rewrites the file without the lines that go. A last line without its end was cut by a crash: it goes too.
void trim(const std::filesystem::path& file, int64_t last_step) {
  if (!std::filesystem::exists(file)) return;
  require(std::filesystem::is_regular_file(file), file.string(), ": exists and is not a regular file");
  std::ifstream in(file, std::ios::binary);
  require(in.good(), file.string(), ": cannot be read");
  const std::filesystem::path trimmed = file.string() + ".tmp";
  std::ofstream out(trimmed, std::ios::binary | std::ios::trunc);
  for (std::string line; std::getline(in, line) && !in.eof();) {
    if (keep(line, last_step)) out << line << '\n';
  }
  out.close();
  if (!out) throw Error(text_of(trimmed.string(), ": cannot be written (is the disk full?)"), Exit::failure);
  std::filesystem::rename(trimmed, file);
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path file, int64_t last_step) : file_(std::move(file)) {
  trim(file_, last_step);
  out_.open(file_, std::ios::binary | std::ios::app);
  require(out_.good(), file_.string(), ": cannot be opened for writing");
}

void MetricsLog::write(int64_t step, const Metrics& metrics) {
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : metrics) line[name] = value;
  out_ << line.dump() << '\n' << std::flush;
  if (!out_)
    throw Error(text_of(file_.string(), ": step ", step, " was not written (is the disk full?)"),
                Exit::failure);
}

}  // namespace orrery
