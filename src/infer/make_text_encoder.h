#pragma once
// The text encoder that a run's settings name. Training, generation and the cache of embeddings start here.
#include <map>
#include <memory>
#include <string>

#include "base/config.h"
#include "model/text_encoder.h"

namespace orrery {

// With its weights, networks on `device`. Error: files that are missing or do not fit, an embedding of
// another width than the model reads.
std::unique_ptr<TextEncoder> make_text_encoder(const Config& config, at::Device device);

// What its embeddings depend on besides their sizes, by setting: digests of the files, read whole but without
// making the network. For caches, which spare its memory.
std::map<std::string, std::string> text_digests(const TextConfig& text);

}  // namespace orrery
