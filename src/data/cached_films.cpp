#include "data/cached_films.h"

#include <atomic>
#include <thread>

#include "base/error.h"
#include "data/caption.h"

namespace orrery {

CachedFilms::CachedFilms(std::shared_ptr<const VideoFolder> films, std::shared_ptr<const ShardCache> cache,
                         FilmsOf part, int64_t workers)
    : films_(std::move(films)), cache_(std::move(cache)), stored_(static_cast<size_t>(films_->size())) {
  std::vector<std::string> reasons(stored_.size());
  std::vector<std::exception_ptr> errors(stored_.size());
  std::atomic<int64_t> next = 0;
  {
    std::vector<std::jthread> threads;
    for (int64_t t = 0; t < std::clamp<int64_t>(workers, 1, size()); ++t)
      threads.emplace_back([&] {
        for (int64_t i = next++; i < size(); i = next++) try {
            look(i, part, reasons[static_cast<size_t>(i)]);
          } catch (...) {
            errors[static_cast<size_t>(i)] = std::current_exception();
          }
      });
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  for (int64_t i = 0; i < size(); ++i)
    if (stored_[static_cast<size_t>(i)] == nullptr)
      misses_.push_back({i, name(i), reasons[static_cast<size_t>(i)]});
}

// Fills stored_, or says why not.
void CachedFilms::look(int64_t index, FilmsOf part, std::string& miss) {
  const FilmFile& file = films_->file(index);
  const std::string item = item_name(part, file);
  const auto found = cache_->items().find(item);
  if (item.empty()) {
    miss = "its name is not UTF-8";
  } else if (found == cache_->items().end()) {
    miss = "not in the cache";
  } else {
    auto stored = std::make_unique<Stored>(
        Stored{found->second, film_latents(found->second.about, (cache_->folder() / item).string())});
    std::error_code ignored;
    if (!std::filesystem::exists(file.film, ignored))
      miss = "its file is gone";
    else if (!is_unchanged(file.film, stored->film.file))
      miss = "its file has changed since it was encoded";
    else if (stored->film.shape != films_->shape(index))
      miss = "its clips have another shape now";
    else
      stored_[static_cast<size_t>(index)] = std::move(stored);
  }
}

Clip CachedFilms::item(int64_t index, const Rng& rng, const std::stop_token& stop) const {
  require(index >= 0 && index < size(), "data: film ", index, " of ", size());
  const Stored* stored = stored_[static_cast<size_t>(index)].get();
  if (stored == nullptr) return films_->item(index, rng, stop);
  const FilmFile& file = films_->file(index);
  const auto& starts = stored->film.first_frames;
  const auto window = static_cast<int64_t>(Rng(rng).below(starts.size()));
  Clip clip = stored->film.clip;
  clip.caption = read_caption(file.caption);
  clip.source = file.film.string();
  clip.first_frame = starts[static_cast<size_t>(window)];
  clip.latents = cache_->rows(stored->entry, "latents", window, window + 1)[0];
  if (stored->film.is_padded) clip.padding_mask = cache_->tensor(stored->entry, "mask");
  return clip;
}

}  // namespace orrery
