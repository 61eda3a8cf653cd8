#pragma once
// What the facts about a machine mean for a run. Called by `orrery doctor`.
#include <string>
#include <vector>

#include "base/config.h"
#include "cli/machine.h"

namespace orrery::cli {

enum class Verdict { ok, hint, missing };  // hint: runs, but slower or with less; missing: will not run

struct Finding {
  Verdict verdict;
  std::string what;   // "memory"
  std::string found;  // "23.5 GiB, 20.1 GiB free"
  std::string mend;   // what to do about it; empty if ok
};

std::vector<Finding> diagnose(const MachineFacts& facts, Device device);

}  // namespace orrery::cli
