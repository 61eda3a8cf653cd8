// orrery demo-data: films of a small physical scene to train on.
#include "data/demo_data.h"

#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"

namespace orrery::cli {

Exit run_demo_data(const std::vector<std::string>& arguments) {
  constexpr double kMany = 1e6, kLarge = 4096;
  DemoDataOptions options;
  std::string out;
  Settings settings;
  settings.bind("out", out, "new or empty folder for the films");
  settings.bind("clips", options.clips, "films to train on", {1, kMany});
  settings.bind("held_out", options.held_out, "films to measure on", {0, kMany});
  settings.bind("frames", options.frames, "frames of a film", {2, kLarge});
  settings.bind("height", options.height, "rows", {16, kLarge});
  settings.bind("width", options.width, "columns", {16, kLarge});
  settings.bind("seed", options.seed, "the same seed gives the same bytes", {.least = 0});
  settings.bind("threads", options.threads, "0: one a core", {0, kLarge});
  const Usage usage = {
      .command = "demo-data",
      .summary = "renders films of an arm that pushes or lifts a block, with prompts, states and actions.",
      .notes =
          "Writes OUT/train and OUT/held_out (videos/NNNN.mp4, metas/NNNN.txt) and OUT/episodes.hdf5 "
          "(robomimic "
          "layout)."};
  if (parse_arguments(arguments, settings, usage).help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!out.empty(), "demo-data: --out=DIR is missing (orrery demo-data --help tells more)");
  options.out = out;
  write_demo_data(options);
  std::cout << options.clips << " films to train on, " << options.held_out << " held out: " << out << "\n";
  return Exit::done;
}

}  // namespace orrery::cli
