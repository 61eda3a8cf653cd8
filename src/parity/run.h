#pragma once
// The subcommands `orrery parity` and `orrery forward`.
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace orrery {

struct ParityOptions {
  std::vector<std::filesystem::path> files;
  std::string device = "cpu";  // cpu | cuda
  bool list_all = false;       // a line for every tensor, not only for the failed ones
};

// Runs every file, prints a line for each (case, module, dtype, worst tensor, error, tolerance, PASS or FAIL)
// and, last, `N passed, N failed`. Returns done, failure if a case failed (also: unknown module), bad_input
// if a file is broken. Error: no files, unknown or absent device.
Exit run_parity(const ParityOptions& options, std::ostream& out);

struct ForwardOptions {
  std::filesystem::path input, output;
  std::string device = "cpu";
};

// Runs the module that the input file names on its weights.* and inputs.* and writes every result:
// outputs.NAME and, if the file has cotangents.* or tangents.*, grads.*, input_grads.* and output_tangents.*.
// Prints a line for each. Error: a broken file, an unknown module, what the module itself refuses.
void run_forward(const ForwardOptions& options, std::ostream& out);

}  // namespace orrery
