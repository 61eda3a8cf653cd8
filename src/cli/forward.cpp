// orrery forward: one module on the weights and inputs of a safetensors file.
#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"
#include "parity/run.h"

namespace orrery::cli {

Exit run_forward(const std::vector<std::string>& arguments) {
  Device device = Device::cpu;
  Settings settings;
  settings.bind("device", device, "where the module runs");
  const Usage usage = {
      .command = "forward",
      .summary = "runs a module on tensors from a safetensors file.",
      .positional = "IN.safetensors OUT.safetensors",
      .notes =
          "IN holds weights.KEY and inputs.NAME, and in its metadata module, config (JSON) and "
          "dtype. OUT gets\noutputs.NAME; with cotangents.NAME or tangents.NAME in IN also the "
          "gradients and tangents."};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(parsed.positional.size() == 2, "forward: got ", parsed.positional.size(),
          " file names, wanted IN.safetensors OUT.safetensors");
  orrery::run_forward(
      {.input = parsed.positional[0], .output = parsed.positional[1], .device = std::string(name_of(device))},
      std::cout);
  return Exit::done;
}

}  // namespace orrery::cli
