// orrery bench and its parts train and ops: how fast the training step is here, and where its time goes.
// Under mpirun all ranks run it together.
#include <array>
#include <charconv>
#include <fstream>
#include <iostream>

#include "base/columns.h"
#include "bench/report.h"
#include "cli/bench_parts.h"
#include "cli/check.h"
#include "cli/ranks_here.h"
#include "infer/world_model.h"
#include "parallel/agreement.h"
#include "plan/auto_run.h"

namespace orrery::cli {
namespace {

struct Request {
  std::string shape, ceilings, json;
  BenchOptions options;
  int64_t rows = 40;
};

Settings table_of(Request& r, Config& c) {
  Settings s = settings_of(c);
  bind_shape(s, r.shape);
  s.bind("warm-up", r.options.warm_up, "steps before the timed ones", {0, 1e6});
  s.bind("steps", r.options.steps, "timed steps", {1, 1e6});
  s.bind("profiled", r.options.profiled, "further steps for the table of times; 0: no table", {0, 1e6});
  s.bind("rows", r.rows, "most rows of the table that are printed", {1, 1e6});
  s.bind("ceilings", r.ceilings,
         "what the figures are held against: h100, h200, b200, cpu, or a file like those of launch/ceilings; "
         "empty: this machine's");
  s.bind("json", r.json, kJsonHelp);
  return s;
}

struct Shape3 {
  int64_t frames, height, width;
};

std::optional<Shape3> parse_shape(std::string text) {
  for (const auto& [name, shape] :
       {std::pair{"720p", "93x704x1280"}, {"480p", "93x480x832"}, {"256p", "1x192x320"}})
    if (text == name) text = shape;
  std::array<int64_t, 3> sizes{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (i > 0 && (at == end || *at++ != 'x')) return {};
    const auto [next, error] = std::from_chars(at, end, sizes[i]);
    if (error != std::errc{} || sizes[i] < 1) return {};
    at = next;
  }
  return at == end ? std::optional(Shape3{sizes[0], sizes[1], sizes[2]}) : std::nullopt;
}

// train.batch where it was not given: a clip for each group of ranks that shares one.
int64_t one_clip_a_group(const Config& config, const World& world) {
  return std::max<int64_t>(1, world.size() / config.parallel.context);
}

Expected expectations(const Config& config, const World& world, Request& request) {
  Expected out{.ceilings =
                   request.ceilings.empty() ? ceilings_here(config, world) : read_ceilings(request.ceilings)};
  const bool is_auto = config.memory.policy == MemoryPolicy::automatic;
  require(out.ceilings || !is_auto,
          "memory.policy=auto: the ceilings of this GPU are not known; choose a policy or --ceilings");
  if (!out.ceilings) return out;
  Config planned = config;
  planned.data.cache = "none";  // latents and embeddings are made up: nothing is encoded
  AutoRun run = is_auto ? auto_run(planned, nodes_of(world), *out.ceilings)
                        : AutoRun{quick_run(planned, nodes_of(world), *out.ceilings), 0};
  request.options.activation_budget_bytes = run.budget_bytes;
  out.plan = std::move(run.report);
  return out;
}

// The world comes first, so that a wrong option is told once and not by every rank.
Exit bench_train_on(const std::vector<std::string>& arguments, World& world) {
  Request request;
  Config config;
  config.train.batch = 0;
  const Settings settings = table_of(request, config);
  const Usage usage = {.command = "bench train",
                       .summary =
                           "times the training step on made-up latents; mpirun -n N orrery bench train "
                           "... on N ranks.",
                       .positional = "FILE.ini...",
                       .takes_ini = true,
                       .notes =
                           "train.batch is a clip for each group of context ranks unless it is given. "
                           "Nothing of films, tokenizer or\ncheckpoints is used."};
  if (parse_arguments(arguments, settings, usage).help) {
    if (world.is_first()) std::cout << help_text(settings, usage);
    return Exit::done;
  }
  apply_shape(request.shape, config.data);
  if (config.train.batch == 0) config.train.batch = one_clip_a_group(config, world);
  check_bench(config);
  resolve_settings(config);
  share_cores(world);
  world.set_timeout(static_cast<double>(config.parallel.timeout_s));
  require_agreement(world.comm(), "configuration", ini_of(settings));
  const Expected expected = expectations(config, world, request);
  const TrainBench result = bench_train(config, world, request.options);
  if (!world.is_first()) return Exit::done;
  std::cout << describe(result, expected, request.rows) << std::flush;
  if (!request.json.empty()) add_line(request.json, json_of(result, expected));
  return Exit::done;
}

Exit run_bench_train(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(
      run_world({}, [&](World& world) { return static_cast<int>(bench_train_on(arguments, world)); }));
}

Exit run_bench_ops(const std::vector<std::string>& arguments) {
  OpBenchOptions options;
  std::string shape, json;
  Config config;
  config.train.batch = 1;
  Settings settings = settings_of(config);
  bind_shape(settings, shape);
  settings.bind("filter", options.filter, "operations whose name contains this; empty: all");
  settings.bind("repeats", options.repeats, "timed calls of each", {1, 1e6});
  settings.bind("json", json, kJsonHelp);
  const Usage usage = {.command = "bench ops",
                       .summary = "times each operation against the least time that it can take here.",
                       .positional = "FILE.ini...",
                       .takes_ini = true,
                       .notes = "One process, one device. train.batch: clips of a rank."};
  if (parse_arguments(arguments, settings, usage).help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  apply_shape(shape, config.data);
  check_bench(config);
  const OpBench result = bench_ops(config, options);
  std::cout << describe(result);
  if (!json.empty()) add_line(json, json_of(result));
  return Exit::done;
}

struct Part {
  std::string_view name, summary;
  Exit (*run)(const std::vector<std::string>& arguments);
};
constexpr std::array kParts = {
    Part{"train", "the training step, and where its time goes", run_bench_train},
    Part{"ops", "each operation against the least time that it can take", run_bench_ops},
    Part{"film", "the denoising of a film, and where its time goes", run_bench_film},
    Part{"vae", "encode and decode of the Wan2.1 autoencoder", run_bench_vae},
};

}  // namespace

void bind_shape(Settings& s, std::string& shape) {
  s.bind("shape", shape,
         "720p: 93x704x1280, 480p: 93x480x832, 256p: an image 1x192x320, or FRAMESxHEIGHTxWIDTH; "
         "empty: data.frames, data.height, data.width");
}

void apply_shape(const std::string& text, DataConfig& data) {
  if (text.empty()) return;
  const auto shape = parse_shape(text);
  require(shape.has_value(), "shape: got \"", text, "\", wanted 720p, 480p, 256p or FRAMESxHEIGHTxWIDTH");
  data.frames = shape->frames;
  data.height = shape->height;
  data.width = shape->width;
}

void check_bench(Config config) {
  if (config.data.path.empty()) config.data.path = "any";
  check_config(config);
}

void add_line(const std::string& file, const std::string& line) {
  std::ofstream out(file, std::ios::app);
  require((out << line << "\n").flush().good(), "json: ", file, " cannot be written");
}

Exit run_bench(const std::vector<std::string>& arguments) {
  if (!arguments.empty())
    for (const Part& part : kParts)
      if (part.name == arguments.front()) return part.run({arguments.begin() + 1, arguments.end()});
  std::string parts;
  for (const Part& part : kParts)
    parts += "  " + left(std::string(part.name), 8) + std::string(part.summary) + "\n";
  const Usage usage = {.command = "bench",
                       .summary = "times training and sampling on made-up data.",
                       .positional = "PART [arguments]",
                       .notes = parts + "\norrery bench PART --help tells more."};
  const Parsed parsed = parse_arguments(arguments, {}, usage);
  (parsed.help ? std::cout : std::cerr) << help_text({}, usage);
  require(parsed.help || parsed.positional.empty(), "bench: no part \"",
          parsed.positional.empty() ? "" : parsed.positional.front(), "\"");
  return parsed.help ? Exit::done : Exit::bad_input;
}

}  // namespace orrery::cli
