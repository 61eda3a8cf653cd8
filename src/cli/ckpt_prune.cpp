// orrery ckpt prune: removes old checkpoints of a run that nobody is training.
#include <iostream>

#include "ckpt/checkpoint_folder.h"
#include "ckpt/folder_lock.h"
#include "cli/ckpt.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

struct Request {
  int64_t keep = 3, keep_every = 0;
  bool put_aside = false, dry_run = false;
};

int64_t bytes_in(const fs::path& folder) {
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

void prune(const fs::path& run, const Request& request) {
  require(fs::is_directory(run / "checkpoints"), "ckpt prune: ", run.string(),
          ": no run folder (there is no checkpoints/ in it)");
  std::unique_ptr<FolderLock> lock;  // a job that trains here removes its own
  if (!request.dry_run) lock = std::make_unique<FolderLock>(run);
  const CheckpointFolder checkpoints(run);
  if (request.dry_run) {
    for (const fs::path& left : checkpoints.leftovers())
      std::cout << "would remove " << left.filename().string() << ", left by an interrupted save\n";
  } else {
    for (const std::string& line : checkpoints.tidy()) std::cout << line << "\n";
  }
  std::vector<fs::path> doomed = checkpoints.surplus(request.keep, request.keep_every);
  if (request.put_aside)
    for (const fs::path& folder : checkpoints.put_aside()) doomed.push_back(folder);
  int64_t bytes = 0;
  for (const fs::path& folder : doomed) {
    const int64_t size = bytes_in(folder);
    if (!request.dry_run) checkpoints.remove(folder);
    std::cout << (request.dry_run ? "would remove " : "removed ") << folder.filename().string() << "  "
              << size << " bytes\n";
    bytes += size;
  }
  std::cout << run.string() << ": " << doomed.size() << (request.dry_run ? " to remove, " : " removed, ")
            << bytes << " bytes; " << checkpoints.all().size() << " checkpoints are there\n";
}

}  // namespace

Exit ckpt_prune(const std::vector<std::string>& arguments) {
  Request request;
  Settings settings;
  settings.bind("keep", request.keep, "newest checkpoints that stay", {.least = 1});
  settings.bind("keep_every", request.keep_every,
                "those of a step that is a multiple of this stay too; 0: none", {.least = 0});
  settings.bind("put_aside", request.put_aside, "remove folders named damaged_... and superseded_... too");
  settings.bind("dry_run", request.dry_run, "say what would go, and remove nothing");
  const Usage usage = {.command = "ckpt prune",
                       .summary = "removes old checkpoints, and what interrupted saves left.",
                       .positional = "RUN...",
                       .notes = "RUN: a run folder. Refused while a job trains in it."};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "ckpt prune: no RUN given");
  for (const std::string& run : parsed.positional) prune(run, request);
  return Exit::done;
}

}  // namespace orrery::cli
