#include "train/file_report.h"

#include <nlohmann/json.hpp>

#include "parallel/agreement.h"

namespace orrery {

FileReport::FileReport(const std::vector<LoaderPart>& parts, double max_bad_fraction)
    : max_bad_fraction_(max_bad_fraction) {
  for (const LoaderPart& part : parts) parts_.push_back({part.data->size(), {}});
}

void FileReport::add(const BadFile& file, Kind kind) {
  const nlohmann::json line = {kind == Kind::skipped, file.part, file.index, file.name, file.reason};
  pending_ += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void FileReport::take(const std::string& text, RunLog& log) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line);
    const bool skipped = entry[0];
    const BadFile file{entry[1], entry[2], entry[3], entry[4]};
    if (skipped) parts_.at(static_cast<size_t>(file.part)).bad.emplace(file.index, file);
    const std::string message = text_of(skipped ? "skipped " : "damaged ", file.name, ": ", file.reason);
    if (told_.insert(text_of(skipped, ":", file.part, ":", file.index)).second) log.note(message);
  }
}

void FileReport::exchange(Comm& comm, RunLog& log) {
  for (const std::string& text : gather_texts(comm, "bad files", pending_)) take(text, log);
  pending_.clear();
  for (const Part& part : parts_) {
    std::vector<BadFile> bad;
    for (const auto& [index, file] : part.bad) bad.push_back(file);
    check_bad_fraction(bad, part.files, max_bad_fraction_);
  }
}

void FileReport::total(RunLog& log) const {
  size_t bad = 0;
  int64_t files = 0;
  for (const Part& part : parts_) {
    bad += part.bad.size();
    files += part.files;
  }
  if (bad > 0) log.note(text_of(bad, " of ", files, " files were skipped and replaced"));
}

}  // namespace orrery
