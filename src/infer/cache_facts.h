#pragma once
// What the contents of a cache (orrery encode, data.cache) depend on besides films and prompts themselves:
// whoever reads a cache compares these. Called by encode and by training.
#include "data/shard_cache.h"
#include "infer/make_tokenizer.h"
#include "parallel/comm.h"

namespace orrery {

// Folders of a cache.
std::filesystem::path latents_folder(const std::filesystem::path& cache);
std::filesystem::path text_folder(const std::filesystem::path& cache);

// The tokenizer (weights, type, window) and how clips are cut (frames, size, stride, resize).
CacheFacts latent_facts(const Config& config, const TokenizerRecord& tokenizer);
// The text encoder. Collective: the first of the ranks reads its files, whole.
CacheFacts text_facts(const Config& config, Comm& ranks);

}  // namespace orrery
