// orrery train: a training run from INI files and options. Under mpirun all ranks run it together.
#include <iostream>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/ranks_here.h"
#include "cli/run_files.h"
#include "cli/same_run.h"
#include "cli/start_plan.h"
#include "cli/stop_signal.h"
#include "infer/world_model.h"
#include "parallel/agreement.h"
#include "train/trainer.h"

namespace orrery::cli {
namespace {

// The world comes first, so that a wrong option is told once and not by every rank.
Exit train(const std::vector<std::string>& arguments, World& world) {
  Config config;
  const Settings settings = settings_of(config);
  const Usage usage = {.command = "train",
                       .summary = "trains a model; mpirun -n N orrery train ... does so on N ranks.",
                       .positional = "FILE.ini...",
                       .takes_ini = true};
  if (parse_arguments(arguments, settings, usage).help) {
    if (world.is_first()) std::cout << help_text(settings, usage);
    return Exit::done;
  }
  check_config(config);
  resolve_settings(config);
  share_cores(world);
  world.set_timeout(static_cast<double>(config.parallel.timeout_s));
  require_agreement(world.comm(), "configuration", ini_of(settings));
  if (world.is_first()) open_run_folder(config.train);
  world.comm().barrier("run folder").wait();
  TrainingStart start = plan_start(config, world);
  start.on_ready = [&] { write_run_files(config, arguments, world.size()); };
  start.settings = ini_of(settings);
  start.require_same_run = [&](const std::string& stored) { require_same_run(stored, config); };
  watch_stop_signal();
  start.stop_asked = stop_was_asked;
  return run_training(config, world, start);
}

}  // namespace

Exit run_train(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(
      run_world({}, [&](World& world) { return static_cast<int>(train(arguments, world)); }));
}

}  // namespace orrery::cli
