#include "infer/text_cache.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/digest.h"
#include "data/caption.h"

namespace orrery {
namespace {

const ShardCache::Entry* find_prompt(const ShardCache& cache, const std::string& prompt) {
  const auto found = cache.items().find(hex_of(digest_of(prompt)));
  // Digests of 64 bits may meet: the prompt itself decides.
  return found != cache.items().end() && found->second.about == prompt ? &found->second : nullptr;
}

at::Tensor read(const ShardCache& cache, const ShardCache::Entry& entry) {
  try {
    return cache.tensor(entry, "embedding");
  } catch (const Error& error) {
    throw Error(text_of("the prompt ", printable(entry.about), ": ", error.what()), error.code(),
                error.where());
  }
}

void add_captions(const VideoFolder& films, std::set<std::string>& prompts) {
  for (int64_t i = 0; i < films.size(); ++i) try {
      prompts.insert(read_caption(films.file(i).caption));
    } catch (const Error& error) {
      if (error.code() != Exit::bad_input) throw;
    }
}

}  // namespace

std::vector<std::string> prompts_to_encode(const Config& config, const DataSets& sets,
                                           const ShardCache& cache) {
  std::set<std::string> prompts;
  for (const auto& films : {sets.train, sets.images, sets.held_out})
    if (films != nullptr) add_captions(*films, prompts);
  if (!config.sample.path.empty())
    add_captions(VideoFolder(list_films(config.sample.path), {.frames = 1, .sizes = {{8, 8}}}), prompts);
  if (is_utf8(config.sample.negative_prompt)) prompts.insert(config.sample.negative_prompt);
  std::erase_if(prompts, [&](const std::string& prompt) { return find_prompt(cache, prompt) != nullptr; });
  return {prompts.begin(), prompts.end()};
}

void encode_prompts(const TextEncoder& encoder, const TextJob& job) {
  const auto per_shard = static_cast<size_t>(job.per_shard);
  for (auto shard = static_cast<size_t>(job.rank); shard * per_shard < job.prompts.size();
       shard += static_cast<size_t>(job.ranks)) {
    std::vector<CacheItem> items;
    for (size_t i = shard * per_shard; i < std::min((shard + 1) * per_shard, job.prompts.size()); ++i) {
      const std::string& prompt = job.prompts[i];
      const at::Tensor embedding = encoder.encode({prompt})[0].cpu();
      require(at::isfinite(embedding).all().item<bool>(), "the embedding of the prompt ", printable(prompt),
              " is not all finite (wrong or damaged text.weights, or numbers beyond text.dtype?)");
      items.push_back({hex_of(digest_of(prompt)), prompt, {{"embedding", compact(embedding)}}});
    }
    ShardCache::write(job.folder, job.first_shard + static_cast<int64_t>(shard), items);
  }
}

CachedText::CachedText(std::shared_ptr<const ShardCache> cache, int64_t tokens, int64_t channels,
                       MakeEncoder make)
    : cache_(std::move(cache)), tokens_(tokens), channels_(channels), make_(std::move(make)) {}

at::Tensor CachedText::embedding(const std::string& prompt) const {
  if (const ShardCache::Entry* entry = find_prompt(*cache_, prompt)) {
    const at::Tensor stored = read(*cache_, *entry);
    require(stored.dim() == 2 && stored.size(0) == tokens_ && stored.size(1) == channels_,
            cache_->folder().string(), ": an embedding of ", stored.sizes(), ", wanted [", tokens_, ",",
            channels_, "]");
    return stored;
  }
  return encoder().encode({prompt})[0].cpu();
}

const TextEncoder& CachedText::encoder() const {
  if (encoder_ == nullptr) encoder_ = make_();
  return *encoder_;
}

at::Tensor CachedText::encode(const std::vector<std::string>& prompts) const {
  std::vector<at::Tensor> rows;
  for (const std::string& prompt : prompts) rows.push_back(embedding(prompt));
  if (rows.size() == 1) return rows[0].unsqueeze(0);
  const auto has_type_of_first = [&](const at::Tensor& row) { return row.dtype() == rows[0].dtype(); };
  if (!std::ranges::all_of(rows, has_type_of_first))
    for (at::Tensor& row : rows) row = row.to(at::kFloat);
  return at::stack(rows);
}

bool CachedText::holds(const std::vector<std::string>& prompts) const {
  return std::ranges::all_of(prompts,
                             [&](const std::string& p) { return find_prompt(*cache_, p) != nullptr; });
}

}  // namespace orrery
