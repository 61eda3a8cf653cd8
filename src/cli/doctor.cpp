// orrery doctor: is this machine fit for a run? Under mpirun also: do the ranks reach each other?
#include <ATen/ops/full.h>

#include <iomanip>
#include <iostream>

#include "cli/commands.h"
#include "cli/diagnosis.h"
#include "cli/options.h"
#include "parallel/world.h"

namespace orrery::cli {
namespace {

// Prints the findings; the worst of them.
Verdict print(const std::vector<Finding>& findings) {
  Verdict worst = Verdict::ok;
  for (const auto& finding : findings) {
    const char* const mark = finding.verdict == Verdict::ok     ? "ok  "
                             : finding.verdict == Verdict::hint ? "hint"
                                                                : "FAIL";
    std::cout << mark << "  " << std::left << std::setw(14) << finding.what << finding.found << "\n";
    if (!finding.mend.empty()) std::cout << std::string(20, ' ') << "-> " << finding.mend << "\n";
    worst = std::max(worst, finding.verdict);
  }
  return worst;
}

// Every rank adds its number: the sum is known.
void exchange(World& world) {
  const int64_t ranks = world.size();
  const at::Tensor sum = at::full({1000}, world.rank(), at::kLong);
  world.comm().all_reduce(sum, ReduceOp::sum, "doctor").wait();
  require(sum.eq(ranks * (ranks - 1) / 2).all().item<bool>(), "ranks: a sum over ", ranks,
          " ranks came out wrong");
  if (world.is_first()) {
    std::cout << "ok    ranks         " << ranks << " on " << world.num_nodes()
              << (world.num_nodes() == 1 ? " machine" : " machines") << " add numbers correctly\n";
  }
}

}  // namespace

Exit run_doctor(const std::vector<std::string>& arguments) {
  std::string run_dir = "runs";
  Device device = Device::cpu;
  Settings settings;
  settings.bind("run_dir", run_dir, "where runs shall be written");
  settings.bind("device", device,
                "where models shall run; cuda: without a usable GPU the machine is not fit");
  const Usage usage = {
      .command = "doctor",
      .summary = "checks the machine and says how to mend what is wrong.",
      .notes =
          "Ends with 1 if something is missing that a run needs. Under mpirun the ranks also exchange "
          "data."};
  return static_cast<Exit>(run_world({.timeout_s = 30}, [&](World& world) {
    const bool help = parse_arguments(arguments, settings, usage).help;
    if (help && world.is_first()) std::cout << help_text(settings, usage);
    if (help) return 0;
    const Verdict verdict =
        world.is_first() ? print(diagnose(look_at_machine(run_dir), device)) : Verdict::ok;
    if (world.size() > 1) exchange(world);
    return verdict == Verdict::missing ? 1 : 0;
  }));
}

}  // namespace orrery::cli
