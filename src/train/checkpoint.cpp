#include "train/checkpoint.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "ckpt/atomic_file.h"
#include "ckpt/safetensors.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
constexpr const char* kPrefix = "step_";

std::string folder_name(int64_t steps_done) {
  const std::string digits = std::to_string(steps_done);
  return kPrefix + std::string(digits.size() < 9 ? 9 - digits.size() : 0, '0') + digits;
}

std::optional<nlohmann::json> state_of(const fs::path& folder) {
  std::ifstream in(folder / "state.json");
  nlohmann::json state = nlohmann::json::parse(in, nullptr, false);
  const auto is_number = [&](const char* key) {
    return state.contains(key) && state[key].is_number_integer();
  };
  if (!state.is_object() || !is_number("steps_done") || !is_number("seed")) return std::nullopt;
  return state;
}

// Complete checkpoints, oldest first. Folders in the making have another name.
std::vector<fs::path> complete_checkpoints(const fs::path& run_dir) {
  std::vector<fs::path> found;
  if (!fs::is_directory(run_dir / "checkpoints")) return found;
  for (const auto& entry : fs::directory_iterator(run_dir / "checkpoints"))
    if (entry.is_directory() && entry.path().filename().string().starts_with(kPrefix) &&
        state_of(entry.path()))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

std::map<std::string, at::Tensor> with_prefix(const std::string& prefix,
                                              const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> out;
  for (const NamedTensor& t : tensors) out.emplace(prefix + t.name, t.tensor);
  return out;
}

// Copies the file's tensors into `targets`; names must be the same on both sides.
void restore(const fs::path& file, const std::map<std::string, at::Tensor>& targets) {
  const Safetensors stored(file);
  for (const auto& [name, entry] : stored.entries())
    require(targets.count(name), file.string(), ": holds ", name, ", which this run does not have");
  for (const auto& [name, tensor] : targets) {
    require(stored.contains(name), file.string(), ": lacks ", name, ", which this run needs");
    const at::Tensor source = stored.tensor(name);
    require(source.sizes() == tensor.sizes(), file.string(), ": ", name, " is ", source.sizes(),
            ", this run has ", tensor.sizes(), " (was the model changed?)");
    at::Tensor target = tensor;
    target.copy_(source);
  }
}

std::map<std::string, at::Tensor> model_tensors(const DiT& net, TrainStep& step) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor] : named_weights(net)) out.emplace(name, tensor);
  if (step.averaged()) out.merge(with_prefix("net_ema.", step.averaged()->averages()));
  return out;
}

}  // namespace

void save_checkpoint(const Config& config, const DiT& net, const LinearTokenizer& tokenizer, TrainStep& step,
                     int64_t steps_done) {
  const fs::path root = fs::path(config.train.run_dir) / "checkpoints";
  const fs::path making = root / ("making_" + folder_name(steps_done)), done = root / folder_name(steps_done);
  fs::remove_all(making);
  fs::create_directories(making);
  save_safetensors(making / "model.safetensors", model_tensors(net, step));
  save_safetensors(making / "optimizer.safetensors", with_prefix("", step.optimizer().state()));
  save_tokenizer(making, tokenizer);
  const std::string state =
      nlohmann::json{{"steps_done", steps_done}, {"seed", config.train.seed}}.dump() + "\n";
  AtomicFile file(making / "state.json");
  file.write(state.data(), state.size());
  file.publish();
  fs::remove_all(done);
  fs::rename(making, done);
  const auto all = complete_checkpoints(config.train.run_dir);
  if (config.ckpt.keep > 0)
    for (size_t i = 0; i + static_cast<size_t>(config.ckpt.keep) < all.size(); ++i) fs::remove_all(all[i]);
}

void supersede_checkpoints(const Config& config, int64_t steps_done) {
  for (const fs::path& folder : complete_checkpoints(config.train.run_dir)) {
    if ((*state_of(folder))["steps_done"] <= steps_done) continue;
    const fs::path name = folder.parent_path() / ("superseded_" + folder.filename().string());
    fs::remove_all(name);
    fs::rename(folder, name);
  }
}

std::optional<fs::path> checkpoint_to_resume(const Config& config) {
  if (config.train.resume == "never") return std::nullopt;
  if (config.train.resume != "auto") {
    require(state_of(config.train.resume).has_value(), "train.resume: ", config.train.resume,
            " is not a complete checkpoint folder");
    return config.train.resume;
  }
  const auto all = complete_checkpoints(config.train.run_dir);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

fs::path newest_checkpoint(const fs::path& run_dir) {
  const auto all = complete_checkpoints(run_dir);
  require(!all.empty(), run_dir.string(), ": no complete checkpoint in ", (run_dir / "checkpoints").string());
  return all.back();
}

int64_t load_checkpoint(const fs::path& folder, const Config& config, DiT& net, TrainStep& step) {
  const auto state = state_of(folder);
  require(state.has_value(), (folder / "state.json").string(), ": not the state of a checkpoint");
  require((*state)["seed"] == config.train.seed, folder.string(), ": made with train.seed ",
          (*state)["seed"].dump(), ", this run has ", config.train.seed,
          ": the order of the data would change");
  restore(folder / "model.safetensors", model_tensors(net, step));
  restore(folder / "optimizer.safetensors", with_prefix("", step.optimizer().state()));
  return (*state)["steps_done"];
}

}  // namespace orrery
