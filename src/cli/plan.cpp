// orrery plan: what a configuration needs and how fast it would be on so many GPUs, without touching one.
#include <iostream>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "infer/world_model.h"
#include "plan/layouts.h"
#include "plan/report.h"

namespace orrery::cli {
namespace {

constexpr size_t kRows = 8;         // best layouts shown
constexpr int64_t kLargest = 4096;  // ranks of the table

struct Request {
  int64_t gpus = 1;
  std::string ceilings = "h200";
  bool table = false, json = false;
};

Settings table_of(Request& r, Config& c) {
  Settings s = settings_of(c);
  s.bind("gpus", r.gpus, "ranks that the run shall have", {1, 1 << 20});
  s.bind("ceilings", r.ceilings, "h100, h200, b200, cpu, or a file like those of launch/ceilings");
  s.bind("table", r.table, "the best layout of each number of GPUs from 8 to 4096, a clip a group");
  s.bind("json", r.json, "print JSON");
  return s;
}

// A row for each number of ranks: the layout of the most clips a second.
std::vector<PlanReport> scaling(const Config& config, const Ceilings& ceilings) {
  std::vector<PlanReport> rows;
  for (int64_t ranks = 8; ranks <= kLargest; ranks *= 2) {
    const std::vector<PlanReport> best = best_layouts(config, ranks, ceilings, ClipsOf::groups);
    if (!best.empty()) rows.push_back(best.front());
  }
  return rows;
}

// The rules of a run, but for what a plan does without: films, and the device itself.
void check(Config config) {
  if (config.data.path.empty()) config.data.path = "any";
  config.numerics.device = Device::cpu;
  check_config(config);
}

Exit print(const Request& r, const Config& config, const Ceilings& ceilings) {
  if (r.table) {
    const std::vector<PlanReport> rows = scaling(config, ceilings);
    std::cout << (r.json ? json_of(rows, ceilings) + "\n"
                         : ceilings.name + "\n" + orrery::table_of(rows, rows.size()));
    return rows.empty() ? Exit::out_of_memory : Exit::done;
  }
  const PlanReport own = quick_run(config, nodes_of(r.gpus, ceilings), ceilings);
  std::vector<PlanReport> best = best_layouts(config, r.gpus, ceilings, ClipsOf::batch);
  if (r.json) {
    best.insert(best.begin(), own);
    std::cout << json_of(best, ceilings) << "\n";
  } else {
    std::cout << describe(own, ceilings) << "\n"
              << (best.empty() ? "no layout of these ranks fits\n"
                               : "best layouts that fit\n" + orrery::table_of(best, kRows));
  }
  return own.fits() ? Exit::done : Exit::out_of_memory;
}

}  // namespace

Exit run_plan(const std::vector<std::string>& arguments) {
  Request request;
  Config config;
  const Settings settings = table_of(request, config);
  const Usage usage = {.command = "plan",
                       .summary = "says what memory and time a configuration takes on so many GPUs.",
                       .positional = "FILE.ini...",
                       .takes_ini = true,
                       .notes = "No GPU is touched. Ends with 4 if the configuration does not fit."};
  if (parse_arguments(arguments, settings, usage).help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  check(config);
  resolve_settings(config);
  return print(request, config, read_ceilings(request.ceilings));
}

}  // namespace orrery::cli
