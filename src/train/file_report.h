#pragma once
// FileReport: the files that gave no clip, or only a damaged one, over all ranks: each is named once, and
// training stops when too many are bad.
#include <map>
#include <set>

#include "data/loader.h"
#include "parallel/comm.h"
#include "train/run_log.h"

namespace orrery {

class FileReport {
 public:
  enum class Kind { skipped, damaged };

  FileReport(const std::vector<LoaderPart>& parts, double max_bad_fraction);

  // What this rank's loader met; told at the next exchange.
  void add(const BadFile& file, Kind kind);
  // Tells the log what any rank has met since the last exchange. Collective. Throws Error(Exit::bad_data) on
  // every rank when more than max_bad_fraction of a part's files are bad.
  void exchange(Comm& comm, RunLog& log);

  // A line with the number of files skipped so far, if there are any.
  void total(RunLog& log) const;

 private:
  struct Part {
    int64_t files;
    std::map<int64_t, BadFile> bad;  // by number
  };
  void take(const std::string& text, RunLog& log);

  std::vector<Part> parts_;
  double max_bad_fraction_;
  std::string pending_;  // lines of JSON
  std::set<std::string> told_;
};

}  // namespace orrery
