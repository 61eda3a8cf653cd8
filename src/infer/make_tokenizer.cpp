#include "infer/make_tokenizer.h"

#include "base/error.h"
#include "base/memory.h"
#include "ckpt/safetensors.h"
#include "infer/load_wan_vae.h"
#include "infer/network_files.h"
#include "infer/world_model.h"
#include "model/wan_tokenizer.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "tokenizer.safetensors";
constexpr const char* kRandom = "random";

LinearTokenizer fit_linear(const Config& c, const Dataset& films) {
  const ReadClips read = read_clips(films, static_cast<uint64_t>(c.train.seed), c.tokenizer.fit_clips);
  require(!read.clips.empty(), c.data.path,
          ": none of the films can be read, so the tokenizer has nothing to be fitted to",
          read.bad.empty() ? "" : "; the first says: " + read.bad.front().reason);
  LinearTokenizerFit fit;
  for (const Clip& clip : read.clips) fit.add(clip.video.unsqueeze(0));
  return fit.finish(c.tokenizer.channels, c.tokenizer.whitening);
}

RunTokenizer with_record(LinearTokenizer tokenizer) {
  TokenizerRecord record = record_of(tokenizer);
  return {std::make_unique<LinearTokenizer>(std::move(tokenizer)), std::move(record)};
}

std::unique_ptr<WanVae> empty_vae(const Config& c, at::Device device, at::ScalarType type) {
  auto net = std::make_unique<WanVae>(WanVaeConfig{.dim = c.tokenizer.width, .z_dim = c.tokenizer.channels},
                                      WanVaePart::both);
  net->materialize(device, type);
  net->set_needs_grad(false);
  return net;
}

void require_vae_weights(const Config& c) {
  require(!c.tokenizer.weights.empty(), "tokenizer.weights is empty; wanted the file or folder of the ",
          "autoencoder's weights (Wan2.1_VAE.pth, Cosmos-Predict2.5's tokenizer.pth), or ", kRandom,
          " to draw them from train.seed, for trials");
}

// In float32 on the CPU, where they are digested.
std::unique_ptr<WanVae> vae_weights(const Config& c) {
  require_vae_weights(c);
  if (c.tokenizer.weights == kRandom) {
    auto net = empty_vae(c, at::kCPU, at::kFloat);
    net->initialize(static_cast<uint64_t>(c.train.seed));
    return net;
  }
  const WanVaeConfig config{.dim = c.tokenizer.width, .z_dim = c.tokenizer.channels};
  return load_wan_vae(c.tokenizer.weights, config, WanVaePart::both, at::kFloat, at::kCPU).net;
}

RunTokenizer make_wan(const Config& c, at::Device device, std::shared_ptr<const RowExchange> rows = nullptr) {
  const MemoryTag tag(MemoryUse::encoders);
  std::unique_ptr<WanVae> net = vae_weights(c);
  TokenizerRecord record{.tensors = {},
                         .facts = {{"kind", "wan"},
                                   {"width", std::to_string(c.tokenizer.width)},
                                   {"weights", digest_of_weights(*net)}}};
  const at::ScalarType type = scalar_type(c.tokenizer.dtype);
  if (type != at::kFloat || device != at::kCPU) {
    const auto as_read = std::move(net);
    net = empty_vae(c, device, type);
    const auto from = as_read->parameters(), to = net->parameters();
    for (size_t i = 0; i < to.size(); ++i) to[i]->variable().set_value(from[i]->value().to(device, type));
  }
  const WanWindows windows{.encode = c.tokenizer.encode_window, .decode = c.tokenizer.decode_window};
  return {std::make_unique<WanTokenizer>(std::move(net), windows, std::move(rows)), std::move(record)};
}

// The fact of that name; empty: there is none.
std::string fact(const std::map<std::string, std::string>& facts, const std::string& name) {
  const auto found = facts.find(name);
  return found == facts.end() ? "" : found->second;
}

}  // namespace

TokenizerRecord record_of(const LinearTokenizer& tokenizer) {
  return {tokenizer.tensors(), {{"kind", "linear"}}};
}

RunTokenizer make_tokenizer(const Config& config, at::Device device, const Dataset& films,
                            std::shared_ptr<const RowExchange> rows) {
  if (config.tokenizer.kind == TokenizerKind::wan) return make_wan(config, device, std::move(rows));
  return with_record(fit_linear(config, films));
}

RunTokenizer starting_tokenizer(const Config& config, at::Device device, const Dataset& films,
                                std::shared_ptr<const RowExchange> rows) {
  const fs::path load = config.ckpt.load, weights = fs::is_directory(load) ? load : load.parent_path();
  if (!config.ckpt.load.empty() && has_tokenizer(weights))
    return load_tokenizer(weights, config, device, std::move(rows));
  return make_tokenizer(config, device, films, std::move(rows));
}

void save_tokenizer(const fs::path& folder, const TokenizerRecord& record) {
  save_safetensors(folder / kFile, record.tensors, record.facts);
}

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / kFile);
}

RunTokenizer load_tokenizer(const fs::path& folder, const Config& config, at::Device device,
                            std::shared_ptr<const RowExchange> rows) {
  const std::string where = (folder / kFile).string();
  const Safetensors stored(folder / kFile);
  const std::string kind = fact(stored.metadata(), "kind");
  require(kind == name_of(config.tokenizer.kind), where, ": is of a tokenizer of kind \"", kind,
          "\", tokenizer.kind is ", name_of(config.tokenizer.kind));
  if (config.tokenizer.kind == TokenizerKind::wan) {
    RunTokenizer made = make_wan(config, device, std::move(rows));
    for (const char* name : {"width", "weights"})
      require(fact(stored.metadata(), name) == fact(made.record.facts, name), where,
              ": the network knows the latents of an autoencoder whose ", name, " is ",
              fact(stored.metadata(), name), ", tokenizer.weights=", config.tokenizer.weights, " has ",
              fact(made.record.facts, name), " (other weights?)");
    return made;
  }
  auto tensors = stored.tensors();
  // The tokenizer outlives its file: a run removes old checkpoints.
  for (auto& [name, tensor] : tensors) tensor = tensor.clone();
  RunTokenizer loaded = with_record(LinearTokenizer::from_tensors(tensors));
  require(loaded.tokenizer->channels() == config.tokenizer.channels, where, ": has ",
          loaded.tokenizer->channels(), " channels, tokenizer.channels is ", config.tokenizer.channels);
  return loaded;
}

RunTokenizer tokenizer_of_weights(const fs::path& weights, const Config& config, at::Device device,
                                  std::shared_ptr<const RowExchange> rows) {
  const fs::path folder = fs::is_directory(weights) ? weights : weights.parent_path();
  if (has_tokenizer(folder)) return load_tokenizer(folder, config, device, std::move(rows));
  require(config.tokenizer.kind == TokenizerKind::wan, weights.string(), ": there is no ", kFile,
          " beside these weights; set tokenizer.kind=wan and tokenizer.weights for those that know the Wan "
          "autoencoder's latents");
  return make_wan(config, device, std::move(rows));
}

std::map<std::string, std::string> tokenizer_digests(const fs::path& weights, const Config& config) {
  std::map<std::string, std::string> digests;
  const fs::path folder = fs::is_directory(weights) ? weights : weights.parent_path();
  if (has_tokenizer(folder)) digests[kFile] = digest_of_file(folder / kFile);
  if (config.tokenizer.kind != TokenizerKind::wan) return digests;
  require_vae_weights(config);
  const bool is_random = config.tokenizer.weights == kRandom;
  digests["tokenizer.weights"] = is_random ? text_of(kRandom, ", train.seed ", config.train.seed)
                                           : digest_of_stored(config.tokenizer.weights);
  return digests;
}

}  // namespace orrery
