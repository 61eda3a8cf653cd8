// orrery ckpt: checkpoints and files of weights.
#include "cli/ckpt.h"

#include <array>
#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

struct Part {
  std::string_view name, summary;
  Exit (*run)(const std::vector<std::string>& arguments);
};

constexpr std::array kParts = {
    Part{"ls", "list tensors and sizes", ckpt_ls},
    Part{"verify", "read every byte and look for damage", ckpt_verify},
    Part{"export", "write weights or their averages for other programs", ckpt_export},
    Part{"import", "convert a foreign file that must fit a model", ckpt_import},
    Part{"diff", "compare the weights of two files", ckpt_diff},
    Part{"merge", "make one model out of several: soup, TIES, DARE", ckpt_merge},
    Part{"prune", "remove old checkpoints of a run", ckpt_prune},
};

// To the user of these commands a damaged file is bad input, whatever found the damage.
Exit run_part(const Part& part, const std::vector<std::string>& arguments) {
  try {
    return part.run(arguments);
  } catch (const Error& error) {
    if (error.code() != Exit::bad_data) throw;
    throw Error(error.what(), Exit::bad_input, error.where());
  }
}

Usage usage() {
  std::string parts;
  for (const Part& part : kParts)
    parts += "  " + std::string(part.name) + std::string(8 - part.name.size(), ' ') +
             std::string(part.summary) + "\n";
  return {.command = "ckpt",
          .summary = "looks into, converts, compares and merges files of weights.",
          .positional = "PART [arguments]",
          .notes = parts + "\norrery ckpt PART --help tells more. A broken file ends with 2 and one line."};
}

}  // namespace

Exit run_ckpt(const std::vector<std::string>& arguments) {
  if (!arguments.empty())
    for (const Part& part : kParts)
      if (part.name == arguments.front()) return run_part(part, {arguments.begin() + 1, arguments.end()});
  const Parsed parsed = parse_arguments(arguments, {}, usage());
  if (parsed.help) {
    std::cout << help_text({}, usage());
    return Exit::done;
  }
  std::cerr << help_text({}, usage());
  require(parsed.positional.empty(), "ckpt: no part \"", parsed.positional.front(), "\"");
  return Exit::bad_input;
}

}  // namespace orrery::cli
