// orrery ckpt export, import: from weights to weights, streamed.
#include <iostream>

#include "ckpt/key_rules.h"
#include "ckpt/row_parts.h"
#include "ckpt/weight_writer.h"
#include "cli/ckpt.h"
#include "cli/options.h"
#include "model/presets.h"

namespace orrery::cli {

enum class OutDtype { keep, float32, bfloat16 };
std::span<const std::string_view> names_of(OutDtype) {
  static constexpr std::array<std::string_view, 3> names{"keep", "float32", "bfloat16"};
  return names;
}

namespace {

namespace fs = std::filesystem;

struct Output {
  fs::path path;
  OutDtype dtype = OutDtype::keep;
  WeightFormat format = WeightFormat::safetensors;
};

using Sources = std::map<std::string, std::string>;  // name to write -> name in the file

at::ScalarType dtype_of(OutDtype dtype, at::ScalarType stored) {
  if (dtype == OutDtype::keep || !at::isFloatingType(stored)) return stored;
  return dtype == OutDtype::float32 ? at::kFloat : at::kBFloat16;
}

// A part of one tensor is in memory at a time.
void write(const WeightFile& file, const Sources& sources, const Output& out) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, source] : sources) {
    const WeightEntry& entry = file.entry(source);
    require(entry.dtype.has_value(), file.path().string(), ": tensor ", source,
            ": its dtype cannot be written");
    specs.push_back({name, dtype_of(out.dtype, *entry.dtype), entry.shape});
  }
  const auto writer = make_weight_writer(out.format, out.path, std::move(specs));
  for (const TensorSpec& spec : writer->specs()) {
    for (const RowRange rows : row_parts(spec.shape, kPartElements)) {
      writer->write(file.rows(sources.at(spec.name), rows).to(spec.dtype));
      file.release_pages();
    }
  }
  writer->publish();
  std::cout << out.path.string() << ": " << sources.size() << " tensors written\n";
}

// In a folder the names that the reference's converter gives: model, model_ema_fp32, model_ema_bf16.
fs::path path_in(const fs::path& out, const Output& output, bool averages) {
  if (!fs::is_directory(out)) return out;
  std::string name = averages ? "model_ema" : "model";
  if (averages && output.dtype == OutDtype::float32) name += "_fp32";
  if (averages && output.dtype == OutDtype::bfloat16) name += "_bf16";
  return out / (name + "." + std::string(names_of(output.format)[static_cast<size_t>(output.format)]));
}

bool has_averages(const WeightFile& file) {
  const auto found = file.entries().lower_bound("net_ema.");
  return found != file.entries().end() && found->first.starts_with("net_ema.");
}

// Every tensor of the model under the key it has there; nothing has storage.
LoadRequest request_for(const DiT& net) {
  LoadRequest request;
  for (const Parameter* const p : net.parameters()) {
    const at::IntArrayRef shape = p->shape();
    request.parameters.push_back({p->key(), shape.vec(), 0, at::Tensor()});
  }
  for (const Buffer* const b : net.buffers())
    request.buffers.push_back({b->key(), b->value().sizes().vec(), 0, at::Tensor()});
  return request;
}

}  // namespace

Exit ckpt_export(const std::vector<std::string>& arguments) {
  WeightChoice weights = WeightChoice::automatic;
  Output out;
  Settings settings;
  settings.bind("weights", weights, "auto: the averages where there are any; all: everything as it is");
  settings.bind("dtype", out.dtype, "of floating tensors");
  settings.bind("format", out.format, "pt: as torch.save writes it, for torch.load(weights_only=True)");
  const Usage usage = {
      .command = "ckpt export",
      .summary = "writes weights or their averages to one file.",
      .positional = "WEIGHTS OUT",
      .notes =
          text_of(kWeightsHelp,
                  "\nAverages (net_ema.*) are written as net.*, as the released files have them. In a folder "
                  "OUT\nthe file is named model, model_ema_fp32 or model_ema_bf16.")};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(parsed.positional.size() == 2, "ckpt export: got ", parsed.positional.size(),
          " arguments, wanted WEIGHTS OUT");
  auto stored = open_weights(parsed.positional[0]);
  const bool averages =
      weights == WeightChoice::ema || (weights == WeightChoice::automatic && has_averages(*stored));
  const auto file = select_weights(std::move(stored), weights);
  out.path = path_in(parsed.positional[1], out, averages);
  Sources sources;
  for (const auto& [name, entry] : file->entries()) sources.emplace(name, name);
  write(*file, sources, out);
  return Exit::done;
}

Exit ckpt_import(const std::vector<std::string>& arguments) {
  std::string preset = "2b";
  Weights weights = Weights::model;
  std::vector<std::string> partial;
  Output out;
  Settings settings;
  settings.bind(
      "preset", preset, "the model that the file must fit: " + [] {
        std::string names;
        for (const std::string& name : dit_preset_names()) names += (names.empty() ? "" : ", ") + name;
        return names;
      }());
  settings.bind("weights", weights, "ema: the averages net_ema.*");
  settings.bind("partial", partial,
                "patterns (* any characters, ? one) of names that may be missing, unexpected, or of another "
                "shape or dtype");
  settings.bind("dtype", out.dtype, "of floating tensors");
  settings.bind("format", out.format, "of OUT");
  const Usage usage = {
      .command = "ckpt import",
      .summary = "converts foreign weights, which must fit a model tensor by tensor.",
      .positional = "WEIGHTS OUT",
      .notes = text_of(kWeightsHelp,
                       "\nEvery tensor of the model and of the file must be used exactly once, or "
                       "be left out by a pattern.")};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(parsed.positional.size() == 2, "ckpt import: got ", parsed.positional.size(),
          " arguments, wanted WEIGHTS OUT");
  out.path = parsed.positional[1];
  const auto file = open_weights(parsed.positional[0]);
  const DiT net(dit_preset(preset));  // without storage
  LoadRequest request = request_for(net);
  request.weights = weights;
  request.partial = partial;
  const WeightMatch match = match_weights(*file, request);
  Sources sources;
  for (const auto& [key, source] : match.sources) sources.emplace("net." + key, source);
  std::cout << match.report << "\n";
  write(*file, sources, out);
  return Exit::done;
}

}  // namespace orrery::cli
