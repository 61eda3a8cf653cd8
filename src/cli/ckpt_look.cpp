// orrery ckpt ls, verify, diff: they read and say what they saw.
#include <c10/util/accumulate.h>

#include <cmath>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ckpt/checkpoint_folder.h"
#include "ckpt/checkpoint_reader.h"
#include "ckpt/row_parts.h"
#include "ckpt/safetensors.h"
#include "ckpt/weight_diff.h"
#include "cli/ckpt.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string dtype_text(const WeightEntry& entry) {
  if (!entry.dtype) return "?";
  const SafetensorsDtype* const known = find_safetensors_dtype(*entry.dtype);
  return known ? std::string(known->name) : c10::toString(*entry.dtype);
}

int64_t bytes_of(const WeightEntry& entry) {
  return entry.dtype
             ? c10::multiply_integers(entry.shape) * static_cast<int64_t>(c10::elementSize(*entry.dtype))
             : 0;
}

// "net.blocks" of "net.blocks.7.mlp.layer1.weight".
std::string prefix_of(const std::string& name) {
  const size_t first = name.find('.');
  const size_t second = first == name.npos ? name.npos : name.find('.', first + 1);
  return name.substr(0, second);
}

struct Total {
  int64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, Total> totals_of(const WeightFile& file) {
  std::map<std::string, Total> totals;
  for (const auto& [name, entry] : file.entries()) {
    for (const std::string& key : {prefix_of(name), std::string()}) {
      Total& total = totals[key];
      ++total.tensors;
      total.elements += c10::multiply_integers(entry.shape);
      total.bytes += bytes_of(entry);
    }
  }
  totals[""];
  return totals;
}

std::string human(int64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2);
  if (bytes >= 1 << 20)
    text << static_cast<double>(bytes) / (1 << 20) << " MiB";
  else
    text << bytes << " bytes";
  return text.str();
}

void print_list(const WeightFile& file) {
  std::cout << file.path().string() << "\n";
  for (const auto& [name, entry] : file.entries())
    std::cout << "  " << name << "  " << dtype_text(entry) << "  " << at::IntArrayRef(entry.shape) << "  "
              << bytes_of(entry) << "\n";
  for (const auto& [path, leaf] : file.leaves()) std::cout << "  " << path << " = " << leaf.dump() << "\n";
  std::cout << "totals\n";
  for (const auto& [prefix, total] : totals_of(file))
    std::cout << "  " << (prefix.empty() ? "all" : prefix) << ": " << total.tensors << " tensors, "
              << total.elements << " elements, " << human(total.bytes) << "\n";
}

Json json_of(const WeightFile& file) {
  Json tensors = Json::object(), totals = Json::object();
  for (const auto& [name, entry] : file.entries())
    tensors[name] = {{"dtype", dtype_text(entry)}, {"shape", entry.shape}, {"bytes", bytes_of(entry)}};
  for (const auto& [prefix, t] : totals_of(file))
    totals[prefix] = {{"tensors", t.tensors}, {"elements", t.elements}, {"bytes", t.bytes}};
  Json leaves = Json::object();
  for (const auto& [path, leaf] : file.leaves()) leaves[path] = leaf;
  return {{"path", file.path().string()}, {"tensors", tensors}, {"leaves", leaves}, {"totals", totals}};
}

// Values that are not finite; reads everything on the way.
int64_t not_finite(const WeightFile& file, const std::string& name) {
  int64_t count = 0;
  for (const RowRange rows : row_parts(file.entry(name).shape, kPartElements)) {
    if (rows.size() == 0) continue;
    const at::Tensor part = file.rows(name, rows);
    if (part.is_floating_point()) {
      const at::Tensor wide = part.to(at::kDouble).contiguous();
      const double* const data = wide.const_data_ptr<double>();
      count += std::count_if(data, data + wide.numel(), [](double x) { return !std::isfinite(x); });
    }
    file.release_pages();
  }
  return count;
}

struct ToVerify {
  std::string path;
  bool is_checkpoint;  // of a run: every byte is held against its digest, the optimizer's part too
};

bool verify(const ToVerify& what) {
  const std::string& path = what.path;
  std::vector<std::string> problems;
  if (what.is_checkpoint) problems = verify_checkpoint(path);
  size_t read = 0, unreadable = 0;
  if (problems.empty()) {
    const auto file = open_weights(path);
    problems = file->damage();
    for (const auto& [name, entry] : file->entries()) {
      ++(entry.dtype ? read : unreadable);
      if (const int64_t count = entry.dtype ? not_finite(*file, name) : 0)
        problems.push_back(text_of(name, ": ", count, " of ", c10::multiply_integers(entry.shape),
                                   " values are NaN or infinite"));
    }
  }
  std::cout << path << ": ";
  if (problems.empty())
    std::cout << read << " tensors read, "
              << (unreadable > 0 ? text_of(unreadable, " tensors of a dtype that cannot be read, ") : "")
              << "good\n";
  else
    std::cout << "DAMAGED\n";
  for (const std::string& problem : problems) std::cout << "  " << problem << "\n";
  return problems.empty();
}

// Of a run all its checkpoints, whatever state they are in.
std::vector<ToVerify> parts_to_verify(const std::string& path) {
  if (!fs::is_directory(fs::path(path) / "checkpoints"))
    return {{path, fs::exists(fs::path(path) / kManifestName)}};
  std::vector<ToVerify> found;
  for (const auto& entry : CheckpointFolder(path).all()) found.push_back({entry.path.string(), true});
  require(!found.empty(), "ckpt verify: ", path, ": this run has no checkpoint");
  return found;
}

void print_diff(const WeightDiff& diff, size_t worst) {
  const auto list = [](const char* what, const std::vector<std::string>& names) {
    for (const std::string& name : names) std::cout << what << name << "\n";
  };
  list("only in the first: ", diff.only_in_a);
  list("only in the second: ", diff.only_in_b);
  list("other shape: ", diff.other_shape);
  for (size_t i = 0; i < std::min(worst, diff.tensors.size()); ++i) {
    const TensorDiff& d = diff.tensors[i];
    std::cout << "differs: " << d.name << "  relative L2 " << d.relative_l2 << ", largest " << d.max_abs
              << ", " << d.differing << " of " << d.elements << " elements"
              << (d.remark.empty() ? "" : ", " + d.remark) << "\n";
  }
  if (diff.tensors.size() > worst) std::cout << "and " << diff.tensors.size() - worst << " more\n";
  std::cout << diff.equal << " tensors are equal bit for bit, " << diff.tensors.size() << " differ, "
            << diff.only_in_a.size() + diff.only_in_b.size() + diff.other_shape.size()
            << " have no counterpart\n";
}

Json json_of(const WeightDiff& diff) {
  Json tensors = Json::array();
  for (const TensorDiff& d : diff.tensors)
    tensors.push_back({{"name", d.name},
                       {"relative_l2", d.relative_l2},
                       {"max_abs", d.max_abs},
                       {"differing", d.differing},
                       {"elements", d.elements},
                       {"remark", d.remark}});
  return {{"same", diff.same()},
          {"equal", diff.equal},
          {"differ", tensors},
          {"only_in_first", diff.only_in_a},
          {"only_in_second", diff.only_in_b},
          {"other_shape", diff.other_shape}};
}

}  // namespace

Exit ckpt_ls(const std::vector<std::string>& arguments) {
  bool json = false;
  Settings settings;
  settings.bind("json", json, "print JSON, a line for each file");
  const Usage usage = {.command = "ckpt ls",
                       .summary = "lists name, dtype, shape and bytes of tensors, and totals.",
                       .positional = "WEIGHTS...",
                       .notes = kWeightsHelp};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "ckpt ls: no WEIGHTS given");
  for (const std::string& path : parsed.positional) {
    const auto file = open_weights(path);
    if (json)
      std::cout << json_of(*file).dump() << "\n";
    else
      print_list(*file);
  }
  return Exit::done;
}

Exit ckpt_verify(const std::vector<std::string>& arguments) {
  const Usage usage = {.command = "ckpt verify",
                       .summary = "reads every byte; ends with 3 for damage, NaN or infinity.",
                       .positional = "WEIGHTS...",
                       .notes = text_of(kWeightsHelp,
                                        "\nOf a run all checkpoints are read; the bytes of checkpoints must "
                                        "have their digests.")};
  const Parsed parsed = parse_arguments(arguments, {}, usage);
  if (parsed.help) {
    std::cout << help_text({}, usage);
    return Exit::done;
  }
  require(!parsed.positional.empty(), "ckpt verify: no WEIGHTS given");
  bool good = true;
  for (const std::string& path : parsed.positional)
    for (const ToVerify& part : parts_to_verify(path)) good = verify(part) && good;
  return good ? Exit::done : Exit::bad_data;
}

Exit ckpt_diff(const std::vector<std::string>& arguments) {
  WeightChoice weights = WeightChoice::all;
  int64_t worst = 20;
  bool json = false;
  Settings settings;
  settings.bind("weights", weights, "what to compare: averages are net_ema.*, compared as net.*");
  settings.bind("worst", worst, "tensors to show", {.least = 0});
  settings.bind("json", json, "print JSON, with all tensors that differ");
  const Usage usage = {.command = "ckpt diff",
                       .summary = "compares weights; ends with 0 if all are equal bit for bit, else with 1.",
                       .positional = "WEIGHTS WEIGHTS",
                       .notes = kWeightsHelp};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(parsed.positional.size() == 2, "ckpt diff: got ", parsed.positional.size(),
          " arguments, wanted two files or folders");
  const auto a = open_choice(parsed.positional[0], weights), b = open_choice(parsed.positional[1], weights);
  const WeightDiff diff = diff_weights(*a, *b);
  if (json)
    std::cout << json_of(diff).dump() << "\n";
  else
    print_diff(diff, static_cast<size_t>(worst));
  return diff.same() ? Exit::done : Exit::failure;
}

}  // namespace orrery::cli
