// orrery train: a training run from INI files and options. Under mpirun all ranks run it together.
#include "train/trainer.h"

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "parallel/data_parallel.h"

namespace orrery::cli {
namespace {

// config.ini holds every setting as resolved, run.json what else made the run.
void write_run_files(const Config& config, const std::string& ini, const World& world) {
  const std::filesystem::path dir = config.train.run_dir;
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "config.ini") << ini;
  const nlohmann::ordered_json run = {
      {"version", std::string(version())}, {"seed", config.train.seed}, {"ranks", world.size()}};
  std::ofstream out(dir / "run.json");
  out << run.dump(2) << "\n";
  require(out.good(), dir.string(), ": cannot be written");
}

}  // namespace

Exit run_train(const std::vector<std::string>& arguments) {
  Config config;
  const Settings settings = settings_of(config);
  const Usage usage = {.command = "train",
                       .summary = "trains a model; mpirun -n N orrery train ... does so on N ranks.",
                       .positional = "FILE.ini...",
                       .takes_ini = true};
  if (parse_arguments(arguments, settings, usage).help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  return static_cast<Exit>(
      run_world({.timeout_s = static_cast<double>(config.parallel.timeout_s)}, [&](World& world) {
        const std::string ini = ini_of(settings);
        require_agreement(world.comm(), "configuration", ini);
        if (world.is_first()) write_run_files(config, ini, world);
        run_training(config, world);
        return static_cast<int>(Exit::done);
      }));
}

}  // namespace orrery::cli
