#pragma once
// The tokenizer that a run's settings name, and what is remembered of it: a network's weights mean nothing
// without the tokenizer whose latents they know. Training and generation start here.
#include <filesystem>
#include <map>

#include "base/config.h"
#include "data/dataset.h"
#include "model/linear_tokenizer.h"
#include "model/wan_tokenizer.h"

namespace orrery {

// What lies beside weights as tokenizer.safetensors, in a run's folder and in each of its checkpoints.
struct TokenizerRecord {
  std::map<std::string, at::Tensor> tensors;  // linear: those that define it. wan: none
  // "kind"; of wan also "width" and "weights", the digest of all its weights in float32, whatever their file.
  std::map<std::string, std::string> facts;
};
TokenizerRecord record_of(const LinearTokenizer& tokenizer);

struct RunTokenizer {
  std::unique_ptr<VideoTokenizer> tokenizer;
  TokenizerRecord record;
};

// From the settings alone. linear: fitted to the first clips of `films`, and on the CPU. wan: with the
// weights of tokenizer.weights, on `device`; "random" draws them from train.seed, for tests and trials. rows:
// the ranks that share the autoencoder's work of each film (model/wan_tokenizer.h), or null.
RunTokenizer make_tokenizer(const Config& config, at::Device device, const Dataset& films,
                            std::shared_ptr<const RowExchange> rows = nullptr);

// What a new run starts with: the one that lies beside the weights of ckpt.load, if there is one, else as
// above.
RunTokenizer starting_tokenizer(const Config& config, at::Device device, const Dataset& films,
                                std::shared_ptr<const RowExchange> rows = nullptr);

// tokenizer.safetensors of a folder. load: the linear tokenizer that was saved there, or the Wan autoencoder
// of the settings; throws Error unless that is the one whose record lies there.
void save_tokenizer(const std::filesystem::path& folder, const TokenizerRecord& record);
bool has_tokenizer(const std::filesystem::path& folder);
RunTokenizer load_tokenizer(const std::filesystem::path& folder, const Config& config, at::Device device,
                            std::shared_ptr<const RowExchange> rows = nullptr);

// The tokenizer of weights to generate with, a file or a folder: what lies beside them; where nothing does,
// as with released weights, the Wan autoencoder of the settings. Throws Error where they name no such.
RunTokenizer tokenizer_of_weights(const std::filesystem::path& weights, const Config& config,
                                  at::Device device, std::shared_ptr<const RowExchange> rows = nullptr);

// What that tokenizer depends on besides its sizes: digests of its files, by setting, read whole but without
// making the network.
std::map<std::string, std::string> tokenizer_digests(const std::filesystem::path& weights,
                                                     const Config& config);

}  // namespace orrery
