// orrery bench film: the denoising of a film.
#include <iostream>

#include "bench/film_bench.h"
#include "cli/bench_parts.h"
#include "cli/ranks_here.h"
#include "infer/world_model.h"
#include "parallel/agreement.h"

namespace orrery::cli {
namespace {

Exit bench_on(const std::vector<std::string>& arguments, World& world) {
  FilmBenchOptions options;
  std::string shape, json;
  int64_t rows = 40;
  Config config;
  Settings settings = settings_of(config);
  bind_shape(settings, shape);
  settings.bind("warm-up", options.warm_up, "steps of the sampler before the timed ones", {0, 1e6});
  settings.bind("steps", options.steps, "timed steps of the sampler", {1, 1e6});
  settings.bind("branches", options.branches,
                "2: two groups of ranks take a branch of the guidance each; 1: one after the other", {1, 2});
  settings.bind("rows", rows, "most rows of the table that are printed", {1, 1e6});
  settings.bind("json", json, kJsonHelp);
  const Usage usage = {
      .command = "bench film",
      .summary =
          "times the denoising of a film; mpirun -n N orrery bench film ... on N ranks, which make one "
          "film together.",
      .positional = "FILE.ini...",
      .takes_ini = true,
      .notes =
          "Weights, text and latents are made up. Of the settings those of model, data (the film's size), "
          "sample, flow, text.tokens,\nparallel.head_groups and numerics count."};
  if (parse_arguments(arguments, settings, usage).help) {
    if (world.is_first()) std::cout << help_text(settings, usage);
    return Exit::done;
  }
  apply_shape(shape, config.data);
  check_bench(config);
  resolve_settings(config);
  share_cores(world);
  world.set_timeout(static_cast<double>(config.parallel.timeout_s));
  require_agreement(world.comm(), "configuration", ini_of(settings));
  const FilmBench result = bench_film(config, world, options);
  if (!world.is_first()) return Exit::done;
  std::cout << describe(result, rows) << std::flush;
  if (!json.empty()) add_line(json, json_of(result));
  return Exit::done;
}

}  // namespace

Exit run_bench_film(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(
      run_world({}, [&](World& world) { return static_cast<int>(bench_on(arguments, world)); }));
}

}  // namespace orrery::cli
