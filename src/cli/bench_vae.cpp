// orrery bench vae: the Wan2.1 autoencoder on a made-up film.
#include <iostream>

#include "bench/vae_bench.h"
#include "cli/bench_parts.h"
#include "cli/ranks_here.h"
#include "parallel/agreement.h"

namespace orrery::cli {
namespace {

Exit bench_on(const std::vector<std::string>& arguments, World& world) {
  VaeBenchOptions options;
  std::string shape, json;
  int64_t rows = 40;
  Config config;
  config.tokenizer.kind = TokenizerKind::wan;
  config.tokenizer.weights = "random";
  Settings settings = settings_of(config);
  bind_shape(settings, shape);
  settings.bind("warm-up", options.warm_up, "calls before the timed ones", {0, 1e6});
  settings.bind("repeats", options.repeats, "timed calls of each", {1, 1e6});
  settings.bind("rows", rows, "most rows of each table that are printed", {1, 1e6});
  settings.bind("json", json, kJsonHelp);
  const Usage usage = {
      .command = "bench vae",
      .summary =
          "times encode and decode of the Wan2.1 autoencoder; mpirun -n N orrery bench "
          "vae ... on N ranks, which share the film's rows.",
      .positional = "FILE.ini...",
      .takes_ini = true,
      .notes =
          "Weights and film are made up. Of the settings those of tokenizer, numerics.device, "
          "numerics.deterministic and numerics.tune count."};
  if (parse_arguments(arguments, settings, usage).help) {
    if (world.is_first()) std::cout << help_text(settings, usage);
    return Exit::done;
  }
  apply_shape(shape, config.data);
  check_bench(config);
  share_cores(world);
  world.set_timeout(static_cast<double>(config.parallel.timeout_s));
  require_agreement(world.comm(), "configuration", ini_of(settings));
  const VaeBench result = bench_vae(config, world, options);
  if (!world.is_first()) return Exit::done;
  std::cout << describe(result, rows) << std::flush;
  if (!json.empty()) add_line(json, json_of(result));
  return Exit::done;
}

}  // namespace

Exit run_bench_vae(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(
      run_world({}, [&](World& world) { return static_cast<int>(bench_on(arguments, world)); }));
}

}  // namespace orrery::cli
