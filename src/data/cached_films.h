#pragma once
// Films whose latents are in a cache, and films that are not, as one data set: order and numbers are those of
// the films. Called by the trainer (data.cache).
#include <memory>

#include "data/film_latents.h"

namespace orrery {

struct CacheMiss {
  int64_t index;
  std::string name, reason;
};

class CachedFilms final : public Dataset {
 public:
  // Looks which films the cache has as they are now, `workers` at a time.
  CachedFilms(std::shared_ptr<const VideoFolder> films, std::shared_ptr<const ShardCache> cache, FilmsOf part,
              int64_t workers);

  int64_t size() const override { return films_->size(); }
  std::string name(int64_t index) const override { return films_->name(index); }
  ClipShape shape(int64_t index) const override { return films_->shape(index); }
  std::vector<ClipShape> shapes() const override { return films_->shapes(); }

  // Of a film in the cache one of its stored windows, with latents in place of video; of another one what the
  // films give. Where all windows are stored, rng chooses the one that it would of the film.
  Clip item(int64_t index, const Rng& rng, const std::stop_token& stop = {}) const override;

  const std::vector<CacheMiss>& misses() const& { return misses_; }  // by number

 private:
  struct Stored {
    ShardCache::Entry entry;
    FilmLatents film;
  };
  void look(int64_t index, FilmsOf part, std::string& miss);

  std::shared_ptr<const VideoFolder> films_;
  std::shared_ptr<const ShardCache> cache_;
  std::vector<std::unique_ptr<const Stored>> stored_;  // null: not in the cache
  std::vector<CacheMiss> misses_;
};

}  // namespace orrery
