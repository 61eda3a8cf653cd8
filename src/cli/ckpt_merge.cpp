// orrery ckpt merge: one model out of several, or a grid of them to choose from.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ckpt/atomic_file.h"
#include "ckpt/row_parts.h"
#include "ckpt/weight_writer.h"
#include "cli/ckpt.h"
#include "cli/options.h"
#include "merge/grid.h"
#include "merge/merge.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Request {
  MergeConfig merge;
  std::string base, out;
  WeightChoice weights = WeightChoice::automatic;
  WeightFormat format = WeightFormat::safetensors;
  bool grid = false, dry_run = false;
  int64_t most = 32;
};

Settings table_of(Request& r) {
  Settings s;
  MergeConfig& m = r.merge;
  s.bind("method", m.method, "how; see docs/weights.md");
  s.bind("base", r.base, "the weights that the models started from; a soup may do without");
  s.bind("out", r.out, "the file to write; with grid a folder");
  s.bind("model_weights", m.weights, "of each model, or one for all; empty: 1");
  s.bind("base_weight", m.base_weight, "soup: of the base as one more ingredient");
  s.bind("density", m.density, "ties, dare: share of a model's changes that is kept; one for all or one each",
         {0, 1});
  s.bind("lambda", m.lambda, "all but soup: factor of the merged change");
  s.bind("normalize", m.normalize,
         "divide by the sum of the weights that took part; auto: yes for soup and ties");
  s.bind("consensus", m.consensus, "ties, dare_ties: signs by the weighted sum, or one vote a model");
  s.bind("trim", m.trim, "ties: the largest changes of each tensor, or of the whole model");
  s.bind("rescale", m.rescale, "dare: divide what is kept by the density");
  s.bind("seed", m.seed, "dare: of the random choice", {.least = 0});
  s.bind("weights", r.weights, "which of a checkpoint's weights; auto: the averages where there are any");
  s.bind("format", r.format, "of the files to write");
  s.bind("grid", r.grid, "write a file for each point of the method's grid, and grid.json");
  s.bind("most", r.most, "a larger grid is refused", {.least = 1});
  s.bind("dry_run", r.dry_run, "check everything and print the settings, but write no weights");
  return s;
}

struct Opened {
  std::vector<std::unique_ptr<WeightFile>> files;
  MergeInputs inputs;
};

Opened open_inputs(const Request& r, const std::vector<std::string>& models) {
  Opened opened;
  const auto open = [&](const std::string& path) {
    return opened.files.emplace_back(open_choice(path, r.weights)).get();
  };
  if (!r.base.empty()) opened.inputs.base = open(r.base);
  for (const std::string& path : models) opened.inputs.models.push_back(open(path));
  return opened;
}

void merge_one(const Request& r, const MergeConfig& config, const MergeInputs& inputs, const fs::path& out) {
  const Merger merger(inputs, {config, seeded_uniforms(config.seed), kPartElements});
  std::cout << out.string() << ": " << json_of(merger.config()) << std::endl;
  if (r.dry_run) return;
  const auto writer =
      make_weight_writer(r.format, out, merger.specs(), {{"orrery.merge", json_of(merger.config())}});
  write_merged(merger, *writer);
}

void merge_all(const Request& r, const MergeInputs& inputs, const std::vector<std::string>& models) {
  const auto points = merge_grid(r.merge, inputs.models.size(), inputs.base != nullptr);
  require(points.size() <= static_cast<size_t>(r.most), "ckpt merge: the grid has ", points.size(),
          " points, more than --most=", r.most);
  fs::create_directories(r.out);
  Json table{{"base", r.base}, {"models", models}, {"points", Json::array()}};
  const std::string ending = "." + std::string(names_of(r.format)[static_cast<size_t>(r.format)]);
  for (const GridPoint& point : points) {
    const fs::path out = fs::path(r.out) / (point.name + ending);
    merge_one(r, point.config, inputs, out);
    table["points"].push_back({{"file", out.filename().string()},
                               {"merge", Json::parse(json_of(completed(point.config, models.size())))}});
  }
  const std::string text = table.dump(2) + "\n";
  AtomicFile file(fs::path(r.out) / "grid.json");
  file.write(text.data(), text.size());
  file.publish();
}

}  // namespace

Exit ckpt_merge(const std::vector<std::string>& arguments) {
  Request request;
  const Settings settings = table_of(request);
  const Usage usage = {
      .command = "ckpt merge",
      .summary = "makes one model out of several with the same tensors.",
      .positional = "WEIGHTS...",
      .notes = text_of(kWeightsHelp, "\nIt streams: no more than parts of a few tensors are in memory.")};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "ckpt merge: no WEIGHTS given (orrery ckpt merge --help tells more)");
  require(!request.out.empty(), "ckpt merge: --out is missing");
  const Opened opened = open_inputs(request, parsed.positional);
  if (request.grid)
    merge_all(request, opened.inputs, parsed.positional);
  else
    merge_one(request, request.merge, opened.inputs, request.out);
  return Exit::done;
}

}  // namespace orrery::cli
