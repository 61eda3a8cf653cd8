// orrery parity: golden cases against this program's modules.
#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"
#include "parity/run.h"

namespace orrery::cli {

Exit run_parity(const std::vector<std::string>& arguments) {
  ParityOptions options;
  Device device = Device::cpu;
  Settings settings;
  settings.bind("device", device, "where the modules run");
  settings.bind("list_all", options.list_all, "a line for every tensor, not only for those that fail");
  const Usage usage = {
      .command = "parity",
      .summary = "runs golden cases and prints the worst relative error of each.",
      .positional = "FILE...",
      .notes =
          "Ends with 1 if a case lies beyond its tolerance, with 2 if a file is broken. The last "
          "line is\n\"N passed, N failed\"."};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "parity: no FILE given (orrery parity --help tells more)");
  options.device = name_of(device);
  options.files.assign(parsed.positional.begin(), parsed.positional.end());
  return orrery::run_parity(options, std::cout);
}

}  // namespace orrery::cli
