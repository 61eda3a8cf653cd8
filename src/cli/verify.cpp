// orrery verify: reads every byte of checkpoints and compares it with its digest.
#include <filesystem>
#include <iostream>

#include "ckpt/checkpoint_folder.h"
#include "ckpt/checkpoint_reader.h"
#include "cli/commands.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

// The checkpoint itself, or all of a run folder.
std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  require(fs::is_directory(folder), "verify: ", folder.string(), ": no such folder");
  if (!fs::is_directory(folder / "checkpoints")) return {folder};
  std::vector<fs::path> found;
  for (const auto& entry : CheckpointFolder(folder).all()) found.push_back(entry.path);
  require(!found.empty(), "verify: ", folder.string(), ": this run has no checkpoint");
  return found;
}

}  // namespace

Exit run_verify(const std::vector<std::string>& arguments) {
  const Usage usage = {.command = "verify",
                       .summary = "reads every byte of checkpoints and compares it with its digest.",
                       .positional = "FOLDER...",
                       .notes =
                           "FOLDER: a checkpoint, or a run folder for all of its checkpoints. Ends with 3 "
                           "if anything is damaged."};
  const Parsed parsed = parse_arguments(arguments, {}, usage);
  if (parsed.help) {
    std::cout << help_text({}, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "verify: no FOLDER given (orrery verify --help tells more)");
  bool all_good = true;
  for (const std::string& folder : parsed.positional) {
    for (const fs::path& checkpoint : checkpoints_in(folder)) {
      const std::vector<std::string> problems = verify_checkpoint(checkpoint);
      std::cout << checkpoint.string() << (problems.empty() ? ": good\n" : ": DAMAGED\n");
      for (const std::string& problem : problems) std::cout << "  " << problem << "\n";
      all_good = all_good && problems.empty();
    }
  }
  return all_good ? Exit::done : Exit::bad_data;
}

}  // namespace orrery::cli
