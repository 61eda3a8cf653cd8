#pragma once
// What lies with a released network's weights, and the digest by which its results are known again. For the
// text encoders and the autoencoder.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "autograd/module.h"
#include "base/error.h"

namespace orrery {

// The folder of weights that are named by folder or by file.
std::filesystem::path folder_of_weights(const std::filesystem::path& weights);

// config.json there; null if there is none. Error, with its path: not JSON.
nlohmann::json read_config_json(const std::filesystem::path& weights);

// What `parse` makes of it, or the default sizes where there is none. Its Errors name the file.
template <class Config>
Config network_config(const std::filesystem::path& weights, Config (*parse)(const nlohmann::json&)) {
  const nlohmann::json config = read_config_json(weights);
  if (config.is_null()) return {};
  try {
    return parse(config);
  } catch (const Error& error) {
    throw Error(text_of((folder_of_weights(weights) / "config.json").string(), ": ", error.what()),
                error.code(), error.where());
  }
}

// Copies the tensors of a file or folder into the network: all of its parameters, and every tensor of the
// file but those whose names begin with one of `unused`. One tensor is in memory at a time. Error, with the
// lists (ckpt/key_rules.h).
void load_network(const std::filesystem::path& weights, const Module& net,
                  const std::vector<std::string>& unused);

// Of all parameters, names and values, in the type that they have. Reads them all: seconds for a large
// network.
std::string digest_of_weights(const Module& net);
// The same of a file or folder of weights, as they are stored.
std::string digest_of_stored(const std::filesystem::path& weights);
std::string digest_of_file(const std::filesystem::path& file);

}  // namespace orrery
