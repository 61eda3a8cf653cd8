#include "train/checkpoint.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

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

// Every tensor of the state with the rows that this rank has.
using Shards = std::vector<ShardView>;

void add(Shards& to, const std::string& prefix, const Shards& shards) {
  for (const ShardView& shard : shards)
    to.push_back({prefix + shard.name, shard.shape, shard.begin, shard.local});
}

Shards model_state(const RunState& run) {
  Shards out;
  add(out, "net.", run.fsdp.weights());
  add(out, "net.", buffers_of(run.net));
  if (!run.step.averaged()) return out;
  const auto& averages = run.step.averaged()->averages();
  for (size_t i = 0; i < averages.size(); ++i) {
    const ShardView& weight = run.fsdp.weights()[i];
    out.push_back({"net_ema." + weight.name, weight.shape, weight.begin, averages[i].tensor});
  }
  return out;
}

// Moments and masters have the rows of their weight, "exp_avg.NAME"; step counts are whole on every rank.
Shards optimizer_state(const RunState& run) {
  std::map<std::string, const ShardView*> weights;
  for (const ShardView& weight : run.fsdp.weights()) weights.emplace(weight.name, &weight);
  Shards out;
  for (const NamedTensor& t : run.step.optimizer().state()) {
    const ShardView* weight = weights.at(t.name.substr(t.name.find('.') + 1));
    const bool is_count = t.tensor.dim() == 0;
    out.push_back({t.name, is_count ? Shape{} : weight->shape, is_count ? 0 : weight->begin, t.tensor});
  }
  return out;
}

std::map<std::string, at::Tensor> whole(const Fsdp& fsdp, const Shards& shards, bool keep) {
  std::map<std::string, at::Tensor> out;
  for (const ShardView& shard : shards) {
    const at::Tensor tensor = shard.shape.empty() || shard.local.sizes() == at::IntArrayRef(shard.shape)
                                  ? shard.local
                                  : fsdp.whole(shard).cpu();
    if (keep) out.emplace(shard.name, tensor);
  }
  return out;
}

// Copies the file's rows into the shards; names must be the same on both sides.
void restore(const fs::path& file, const Shards& targets) {
  const Safetensors stored(file);
  std::set<std::string> wanted;
  for (const ShardView& target : targets) wanted.insert(target.name);
  for (const auto& [name, entry] : stored.entries())
    require(wanted.count(name), file.string(), ": holds ", name, ", which this run does not have");
  for (const ShardView& target : targets) {
    require(stored.contains(target.name), file.string(), ": lacks ", target.name, ", which this run needs");
    const at::Tensor source = stored.tensor(target.name);
    require(source.sizes() == at::IntArrayRef(target.shape), file.string(), ": ", target.name, " is ",
            source.sizes(), ", this run has ", at::IntArrayRef(target.shape), " (was the model changed?)");
    copy_rows(source, target);
  }
}

}  // namespace

void save_checkpoint(const Config& config, const RunState& run, int64_t steps_done, bool is_first) {
  const auto model = whole(run.fsdp, model_state(run), is_first);
  const auto optimizer = whole(run.fsdp, optimizer_state(run), is_first);
  if (!is_first) return;
  const fs::path root = fs::path(config.train.run_dir) / "checkpoints";
  const fs::path making = root / ("making_" + folder_name(steps_done)), done = root / folder_name(steps_done);
  fs::remove_all(making);
  fs::create_directories(making);
  save_safetensors(making / "model.safetensors", model);
  save_safetensors(making / "optimizer.safetensors", optimizer);
  save_tokenizer(making, run.tokenizer);
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

int64_t load_checkpoint(const fs::path& folder, const Config& config, const RunState& run) {
  const auto state = state_of(folder);
  require(state.has_value(), (folder / "state.json").string(), ": not the state of a checkpoint");
  require((*state)["seed"] == config.train.seed, folder.string(), ": made with train.seed ",
          (*state)["seed"].dump(), ", this run has ", config.train.seed,
          ": the order of the data would change");
  restore(folder / "model.safetensors", model_state(run));
  restore(folder / "optimizer.safetensors", optimizer_state(run));
  run.fsdp.release();
  return (*state)["steps_done"];
}

}  // namespace orrery
