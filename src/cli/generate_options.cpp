#include "cli/generate_options.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

#include "base/error.h"
#include "ckpt/checkpoint_folder.h"
#include "ckpt/checkpoint_reader.h"
#include "infer/released_models.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const Usage kUsage = {.command = "generate",
                      .summary = "makes films with a trained model, or measures it on a folder of films."};

Settings table_of(GenerateOptions& o, Config& c) {
  Settings s = settings_of(c);
  s.bind("run", o.run, "run folder of the model");
  s.bind("checkpoint", o.checkpoint,
         "folder of a checkpoint, or weights of any format; empty: the run's newest checkpoint");
  s.bind("model", o.model, "settings of released weights: " + released_model_names());
  s.bind("out", o.out, "-i, evaluate: folder for the films (-o DIR); else the film to write (.mp4)");
  s.bind("num_generations", o.num_generations, "-i: films of a sample, with seeds that count up from its own",
         {.least = 1, .most = 10000});
  s.bind("context_parallel_size", o.context_parallel_size,
         "-i: ranks that make a film together, each some of its frames", {.least = 1});
  s.bind("cfg_parallel", o.cfg_parallel, "-i: two ranks take a branch of the guidance each");
  s.bind("resume", o.resume, "-i: leave alone what is there, whole and made from the same");
  s.bind("keep_going", o.keep_going, "-i: a film that fails is reported, and the next one is made");
  s.bind("image", o.image, "one film: the given frame");
  s.bind("film", o.film, "one film: the last frames of this one are the given ones");
  s.bind("prompt", o.prompt, "one film: what shall happen");
  s.bind("seed", c.sample.seed, "one film: of the initial noise; another name of sample.seed",
         {0, 4294967295.0});
  s.bind("evaluate", o.evaluate, "folder of films: generate their futures and print how close they come");
  s.bind("clips", o.clips, "evaluate: number of films", {.least = 1});
  return s;
}

// Options of the reference that have no meaning here, and why.
constexpr auto kForeign = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"experiment", "settings are this program's: --model, --run, or --section.key=value"},
    {"config_file", "settings are this program's: --model, --run, or --section.key=value"},
    {"offload_diffusion_model", "the parts are not moved to the host between films"},
    {"offload_tokenizer", "the parts are not moved to the host between films"},
    {"offload_text_encoder", "the parts are not moved to the host between films"},
    {"disable_guardrails", "there are no guardrails here; leave it out"},
    {"offload_guardrail_models", "there are no guardrails here; leave it out"},
    {"profile", "orrery bench times the network"},
});

// --context-parallel-size, --no-keep-going and --output_dir in this program's spelling.
std::string canonical(const std::string& word) {
  if (!word.starts_with("--")) return word;
  const size_t equals = word.find('=');
  std::string key = word.substr(2, equals == std::string::npos ? equals : equals - 2);
  std::string value = equals == std::string::npos ? "" : word.substr(equals);
  if (key.find('.') == std::string::npos) std::replace(key.begin(), key.end(), '-', '_');
  if (key.starts_with("no_") && value.empty()) {
    key = key.substr(3);
    value = "=false";
  }
  if (key == "output_dir") key = "out";
  if (key == "checkpoint_path") key = "checkpoint";
  for (const auto& [foreign, why] : kForeign) require(key != foreign, "--", key, ": ", why);
  return "--" + key + value;
}

bool is_option(const std::string& word) {
  return word.size() > 1 && word.front() == '-';
}

// Takes -i FILE... and, if there is one, the samples' fields out of the arguments.
Words take_samples(const Words& arguments, GenerateOptions& o) {
  Words rest;
  bool has_samples = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string word = canonical(arguments[i]);
    if (word == "-i" || word == "--input_files") {
      has_samples = true;
      while (i + 1 < arguments.size() && !is_option(arguments[i + 1])) o.inputs.emplace_back(arguments[++i]);
    } else {
      rest.push_back(word == "-o" ? "--out" : word);
    }
  }
  if (!has_samples) return rest;
  require(!o.inputs.empty(), "-i: got no file, wanted .json or .jsonl files with samples");
  const auto names = override_fields();
  const std::set<std::string_view> fields(names.begin(), names.end());
  Words own;
  for (size_t i = 0; i < rest.size(); ++i) {
    const size_t equals = rest[i].find('=');
    const std::string key =
        rest[i].starts_with("--") ? rest[i].substr(2, equals == std::string::npos ? equals : equals - 2) : "";
    if (fields.count(key) == 0) {
      own.push_back(rest[i]);
    } else if (equals != std::string::npos) {
      o.overrides.push_back({key, rest[i].substr(equals + 1)});
    } else if (i + 1 < rest.size() && !rest[i + 1].starts_with("--")) {
      o.overrides.push_back({key, rest[++i]});
    } else {
      require(key == "enable_autoregressive", "--", key, ": got no value");
      o.overrides.push_back({key, "true"});
    }
  }
  return own;
}

bool is_own(const std::string& key) {
  return key.find('.') == std::string::npos;
}

// Settings of a film that may differ from those the weights were trained with.
bool reaches_generation(const std::string& key) {
  static const std::set<std::string> keys = {"data.frames",
                                             "data.height",
                                             "data.width",
                                             "data.resize",
                                             "data.stride",
                                             "data.max_pixels",
                                             "memory.limit_gib",
                                             "flow.condition_timestep",
                                             "flow.replace_condition",
                                             "tokenizer.weights",
                                             "tokenizer.dtype",
                                             "tokenizer.encode_window",
                                             "tokenizer.decode_window",
                                             "text.weights",
                                             "text.tokenizer",
                                             "text.path",
                                             "text.dtype"};
  return is_own(key) || key.starts_with("sample.") || key.starts_with("numerics.") || keys.count(key) > 0;
}

// Limits, where it runs, and where files lie: the same films with others. The files' contents count apart.
bool leaves_films_alone(const std::string& key) {
  static const std::set<std::string> keys = {
      "data.max_pixels", "memory.limit_gib", "numerics.device", "sample.every",           "tokenizer.weights",
      "text.weights",    "text.tokenizer",   "text.path",       "tokenizer.decode_window"};
  return keys.count(key) > 0;
}

bool describes_weights(const std::string& key) {
  return key.starts_with("model.") || key.starts_with("tokenizer.") || key.starts_with("text.");
}

// Fills the table from where the weights' settings are; says where that is.
std::string read_base(const GenerateOptions& o, const Settings& table) {
  if (!o.run.empty()) {
    read_ini(fs::path(o.run) / "config.ini", table);
    return "the run has ";
  }
  if (!o.model.empty()) {
    for (const auto& [key, value] : released_model(o.model).settings)
      table.set(std::string(key), std::string(value), o.model);
    return "";
  }
  if (fs::exists(fs::path(o.checkpoint) / "manifest.json")) {
    const auto texts = read_manifest(o.checkpoint).texts;
    const auto settings = texts.find("config");
    require(settings != texts.end(), o.checkpoint, ": the manifest has no settings; name the run with --run");
    std::istringstream in(settings->second);
    read_ini(in, o.checkpoint, table);
    return "the checkpoint has ";
  }
  return "";
}

void check_settings(const Settings& table, const Settings& base, const std::string& whose) {
  for (const auto& row : base.all()) {
    const bool may_move = reaches_generation(row.key) || (whose.empty() && describes_weights(row.key));
    const std::string now = table.find(row.key)->show();
    require(may_move || now == row.show(), row.key, "=", now, " has no effect on generate",
            whose.empty() ? "" : ": " + whose + row.show());
  }
}

void check_options(const GenerateOptions& o, const Settings& table, const Settings& defaults) {
  require(!o.out.empty(), "generate: --out is missing (orrery generate --help tells more)");
  const bool samples = !o.inputs.empty();
  const auto moved = [&](const char* key) { return table.find(key)->show() != defaults.find(key)->show(); };
  if (samples) {
    for (const char* key : {"image", "film", "evaluate", "clips"})
      require(!moved(key), "generate: --", key, " does not go with -i");
    for (const auto& [setting, field] : {std::pair{"sample.steps", "num_steps"},
                                         {"sample.guidance", "guidance"},
                                         {"sample.seed", "seed"},
                                         {"sample.negative_prompt", "negative_prompt"},
                                         {"sample.condition_frames", "inference_type"}})
      require(!moved(setting), setting, " has no effect with -i: samples have --", field);
    return;
  }
  for (const char* key : {"num_generations", "context_parallel_size", "cfg_parallel", "resume", "keep_going"})
    require(!moved(key), "generate: --", key, " is for samples in files (-i FILE)");
  require(o.image.empty() || o.film.empty(), "generate: got --image and --film, wanted one of them");
  require(
      o.evaluate.empty() || (o.image.empty() && o.film.empty() && o.prompt.empty()),
      "generate: --evaluate takes films and prompts from its folder, not from --image, --film or --prompt");
}

}  // namespace

GenerateOptions parse_generate(const std::vector<std::string>& arguments, Config& config) {
  GenerateOptions o, base_options;
  const Words own = take_samples(arguments, o);
  Config base;
  const Settings table = table_of(o, config), base_table = table_of(base_options, base);
  o.help = parse_arguments(own, table, kUsage).help;
  if (o.help) return o;
  require(!o.run.empty() || !o.checkpoint.empty(),
          "generate: --run=DIR or --checkpoint=PATH is missing (orrery generate --help tells more)");
  require(o.run.empty() || o.model.empty(), "generate: got --run and --model, wanted one of them");
  const std::string whose = read_base(o, settings_of(base));
  config = base;
  parse_arguments(own, table, kUsage);  // again, now on top of these settings
  check_settings(settings_of(config), settings_of(base), whose);
  check_options(o, table, base_table);
  o.weights = o.checkpoint.empty() ? CheckpointFolder(o.run).newest() : fs::path(o.checkpoint);
  return o;
}

std::string generate_help() {
  GenerateOptions options;
  Config config;
  Usage usage = kUsage;
  usage.notes =
      "Samples in files:  orrery generate -i FILE.jsonl... -o DIR --run=DIR\n"
      "One film:          orrery generate --run=DIR --film=FILE --prompt=TEXT --out=FILE.mp4\n"
      "Figures:           orrery generate --run=DIR --evaluate=DIR --out=DIR\n\n"
      "Settings are those of the run, of the checkpoint or of --model; what is given here wins.\n"
      "With -i these fields of all samples can be given too:\n";
  for (const std::string_view field : override_fields())
    usage.notes += "  --" + std::string(field) + "=...\n      " + std::string(help_of(field)) + "\n";
  return help_text(table_of(options, config), usage);
}

std::string film_settings(Config& config) {
  std::string text;
  const Settings table = settings_of(config);
  for (const auto& row : table.all())
    if (!leaves_films_alone(row.key) && (reaches_generation(row.key) || describes_weights(row.key)))
      text += row.key + " = " + row.show() + "\n";
  return text;
}

}  // namespace orrery::cli
