#pragma once
// Embeddings of prompts in a cache: items of a ShardCache named by the digest of the prompt, with one tensor
// "embedding" [tokens,channels]. Written by `orrery encode --text=true`, read by the trainer (data.cache).
#include <functional>
#include <memory>

#include "base/config.h"
#include "data/shard_cache.h"
#include "data/video_folder.h"
#include "model/text_encoder.h"

namespace orrery {

// Distinct prompts of the run that the cache lacks, in the order of their bytes: those of the films, and
// sample.negative_prompt. A film whose caption cannot be read has none.
std::vector<std::string> prompts_to_encode(const Config& config, const DataSets& sets,
                                           const ShardCache& cache);

// This rank's shards of up to per_shard of the prompts; ranks take turns.
struct TextJob {
  std::vector<std::string> prompts;
  std::filesystem::path folder;  // of a ShardCache that was prepared
  int64_t first_shard = 0;
  int64_t per_shard = 16;
  int64_t rank = 0, ranks = 1;
};
void encode_prompts(const TextEncoder& encoder, const TextJob& job);

// Embeddings from the cache, and of prompts that it lacks from the encoder, which is made when the first one
// comes: where there is none, its weights take no memory. Each prompt is encoded on its own, so that an
// embedding does not depend on its batch. In the cache's type; where they differ, float32. One thread, but
// for prompts that the cache holds.
class CachedText final : public TextEncoder {
 public:
  using MakeEncoder = std::function<std::unique_ptr<TextEncoder>()>;
  CachedText(std::shared_ptr<const ShardCache> cache, int64_t tokens, int64_t channels, MakeEncoder make);

  at::Tensor encode(const std::vector<std::string>& prompts) const override;
  bool holds(const std::vector<std::string>& prompts) const override;
  int64_t tokens() const override { return tokens_; }
  int64_t channels() const override { return channels_; }
  std::string identity() const override { return encoder().identity(); }

 private:
  at::Tensor embedding(const std::string& prompt) const;
  const TextEncoder& encoder() const;
  std::shared_ptr<const ShardCache> cache_;
  int64_t tokens_, channels_;
  MakeEncoder make_;
  mutable std::unique_ptr<TextEncoder> encoder_;
};

}  // namespace orrery
