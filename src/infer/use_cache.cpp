#include "infer/use_cache.h"

#include "base/error.h"
#include "data/cached_films.h"
#include "infer/cache_facts.h"
#include "infer/make_text_encoder.h"
#include "infer/text_cache.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

std::string list_of(const std::vector<CacheMiss>& misses) {
  constexpr size_t kShown = 10;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, misses.size()); ++i)
    text += text_of("\n  ", misses[i].name, ": ", misses[i].reason);
  if (misses.size() > kShown) text += text_of("\n  and ", misses.size() - kShown, " more");
  return text;
}

}  // namespace

RunData run_data(const Config& config, const DataSets& sets, const TokenizerRecord& tokenizer) {
  RunData data{.parts = loader_parts(config.data, sets, config.train.batch), .notes = {}};
  if (config.data.cache.empty()) return data;
  const auto cache = std::make_shared<const ShardCache>(latents_folder(config.data.cache));
  cache->require_facts(latent_facts(config, tokenizer), {"encode.windows"});
  for (LoaderPart& part : data.parts) {
    const bool is_images = part.data == sets.images;
    auto films = std::make_shared<const CachedFilms>(is_images ? sets.images : sets.train, cache,
                                                     is_images ? FilmsOf::images : FilmsOf::videos,
                                                     config.data.workers);
    const auto missing = static_cast<int64_t>(films->misses().size());
    require(missing == 0 || config.data.uncached == Uncached::encode, config.data.cache, ": lacks ", missing,
            " of ", films->size(),
            " films, and data.uncached is refuse (orrery encode adds them):", list_of(films->misses()));
    data.notes.push_back(text_of("cache ", config.data.cache, ": latents of ", films->size() - missing,
                                 " of ", films->size(), is_images ? " images" : " films",
                                 missing > 0 ? "; the others are encoded at each step:" : "",
                                 list_of(films->misses())));
    part.data = std::move(films);
  }
  return data;
}

std::unique_ptr<TextEncoder> run_text(const Config& config, at::Device device, Comm& ranks) {
  const std::filesystem::path folder = text_folder(config.data.cache);
  if (config.data.cache.empty() || !ShardCache::exists(folder)) return make_text_encoder(config, device);
  auto cache = std::make_shared<const ShardCache>(folder);
  cache->require_facts(text_facts(config, ranks));
  return std::make_unique<CachedText>(std::move(cache), text_tokens(config),
                                      dit_config(config).text_channels(),
                                      [config, device] { return make_text_encoder(config, device); });
}

bool encodes_films(const Config& config) {
  return config.data.cache.empty();
}

bool encodes_prompts(const Config& config) {
  const std::filesystem::path& cache = config.data.cache;
  return cache.empty() ||
         (ShardCache::exists(latents_folder(cache)) && !ShardCache::exists(text_folder(cache)));
}

}  // namespace orrery
