#include "infer/encode_films.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/progress.h"
#include "data/cached_films.h"
#include "data/loader.h"
#include "data/read_ahead.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

using nlohmann::json;

const VideoFolder& folder_of(const DataSets& sets, FilmsOf part) {
  return part == FilmsOf::videos ? *sets.train : *sets.images;
}

void check_bad(const std::vector<BadFile>& bad, const DataSets& sets, double max_fraction) {
  for (const FilmsOf part : {FilmsOf::videos, FilmsOf::images}) {
    std::vector<BadFile> of_part;
    for (const BadFile& file : bad)
      if (file.part == static_cast<int64_t>(part)) of_part.push_back(file);
    if (!of_part.empty()) check_bad_fraction(of_part, folder_of(sets, part).size(), max_fraction);
  }
}

// One clip of one film, or why the film has none.
struct Window {
  size_t film = 0;  // place in EncodeJob::films
  int64_t number = 0, of = 1;
  int64_t first_frame = 0;
  FileState file{};  // of window 0
  Clip clip{};
  std::string problem{};
};

class FilmEncoder {
 public:
  FilmEncoder(const Config& config, const DataSets& sets, const VideoTokenizer& tokenizer,
              const EncodeJob& job)
      : config_(config), sets_(sets), tokenizer_(tokenizer), job_(job), next_(first_of(job.rank)) {}

  EncodeReport run(const std::function<void(int64_t)>& film_done) {
    ReadAhead<Window> windows([this] { return plan(); }, config_.data.workers,
                              config_.data.workers + config_.data.prefetch);
    for (double begin = steady_seconds();; begin = steady_seconds()) {
      std::optional<Window> window = windows.next();
      report_.decode_s += steady_seconds() - begin;
      if (!window) return std::move(report_);
      take(*window);
      if (window->number + 1 < window->of) continue;
      finish_film(*window);
      film_done(report_.films + static_cast<int64_t>(report_.bad.size()));
    }
  }

 private:
  const VideoFolder& folder(const FilmToEncode& film) const { return folder_of(sets_, film.part); }
  std::string film_name(size_t place) const {
    return folder(job_.films[place]).name(job_.films[place].index);
  }
  size_t per_shard() const { return static_cast<size_t>(job_.films_per_shard); }
  size_t first_of(int64_t shard) const { return static_cast<size_t>(shard) * per_shard(); }

  // In the threads that read ahead, one at a time: the next window of this rank's films.
  std::optional<ReadAhead<Window>::Read> plan() {
    while (starts_.empty()) {
      if (next_ >= job_.films.size()) return std::nullopt;
      film_ = next_++;
      if (next_ % per_shard() == 0) next_ += per_shard() * static_cast<size_t>(job_.ranks - 1);
      try {
        const FilmToEncode& film = job_.films[film_];
        const auto starts = window_starts(folder(film).num_starts(film.index), job_.windows);
        starts_.assign(starts.begin(), starts.end());
        of_ = static_cast<int64_t>(starts.size());
      } catch (const Error& error) {
        if (error.code() != Exit::bad_input) throw;
        return [w = Window{.film = film_, .problem = error.what()}](const auto&) { return w; };
      }
    }
    Window window{.film = film_,
                  .number = of_ - static_cast<int64_t>(starts_.size()),
                  .of = of_,
                  .first_frame = starts_.front()};
    starts_.pop_front();
    return [this, window](const std::stop_token& stop) { return read(window, stop); };
  }

  Window read(Window window, const std::stop_token& stop) const {
    const FilmToEncode& film = job_.films[window.film];
    try {
      if (window.number == 0) window.file = file_state(folder(film).file(film.index).film);
      window.clip = folder(film).clip(film.index, window.first_frame, stop);
    } catch (const Error& error) {
      if (error.code() != Exit::bad_input) throw;
      window.problem = error.what();
    }
    return window;
  }

  void take(const Window& window) {
    if (window.number == 0) {
      latents_.clear();
      problem_.clear();
      const FilmToEncode& film = job_.films[window.film];
      stored_ = {.file = window.file,
                 .shape = folder(film).shape(film.index),
                 .first_frames = {},
                 .clip = window.clip};
      stored_.clip.video.reset();
    }
    if (problem_.empty()) problem_ = window.problem;
    if (!problem_.empty()) return;
    const double begin = steady_seconds();
    latents_.push_back(tokenizer_.encode(window.clip.video.unsqueeze(0))[0].cpu());
    require(at::isfinite(latents_.back()).all().item<bool>(), film_name(window.film),
            ": the latents of frame ", window.first_frame,
            " on are not all finite (wrong or damaged tokenizer.weights, or numbers beyond ",
            "tokenizer.dtype?)");
    stored_.first_frames.push_back(window.first_frame);
    report_.encode_s += steady_seconds() - begin;
  }

  void finish_film(const Window& last) {
    const FilmToEncode& film = job_.films[last.film];
    const BadFile file{static_cast<int64_t>(film.part), film.index, folder(film).name(film.index), ""};
    const std::string name = item_name(film.part, folder(film).file(film.index));
    if (problem_.empty() && name.empty()) problem_ = "its name is not UTF-8";
    if (!problem_.empty()) {
      report_.bad.push_back({file.part, file.index, file.name, problem_});
      check_bad(report_.bad, sets_, config_.data.max_bad_fraction);
    } else {
      ++report_.films;
      report_.windows += static_cast<int64_t>(latents_.size());
      if (!stored_.clip.remark.empty())
        report_.damaged.push_back({file.part, file.index, file.name, stored_.clip.remark});
      stored_.is_padded = stored_.clip.padding_mask.defined();
      items_.push_back({name, about_text(stored_), {{"latents", compact(at::stack(latents_))}}});
      if (stored_.is_padded) items_.back().tensors["mask"] = stored_.clip.padding_mask;
    }
    latents_.clear();
    if ((last.film + 1) % per_shard() == 0 || last.film + 1 == job_.films.size()) write(last.film);
  }

  void write(size_t film) {
    const int64_t shard = job_.first_shard + static_cast<int64_t>(film / per_shard());
    if (!items_.empty()) ShardCache::write(job_.folder, shard, items_);
    items_.clear();
  }

  const Config& config_;
  const DataSets& sets_;
  const VideoTokenizer& tokenizer_;
  const EncodeJob& job_;

  // The plan's: the film whose windows are being given out.
  size_t film_ = 0, next_;
  int64_t of_ = 0;
  std::deque<int64_t> starts_;

  // The film that is being encoded, and the shard.
  FilmLatents stored_;
  std::vector<at::Tensor> latents_;
  std::string problem_;
  std::vector<CacheItem> items_;
  EncodeReport report_;
};

}  // namespace

std::vector<FilmToEncode> films_to_encode(const DataConfig& config, const DataSets& sets,
                                          std::shared_ptr<const ShardCache> cache) {
  std::vector<FilmToEncode> films;
  const auto add = [&](FilmsOf part, const std::shared_ptr<const VideoFolder>& folder) {
    if (folder == nullptr) return;
    const CachedFilms cached(folder, cache, part, config.workers);
    for (const CacheMiss& miss : cached.misses()) films.push_back({part, miss.index});
  };
  add(FilmsOf::videos, sets.train);
  add(FilmsOf::images, sets.images);
  return films;
}

EncodeReport encode_films(const Config& config, const DataSets& sets, const VideoTokenizer& tokenizer,
                          const EncodeJob& job, const std::function<void(int64_t)>& film_done) {
  return FilmEncoder(config, sets, tokenizer, job).run(film_done);
}

EncodeReport merge_reports(const EncodeReport& mine, const DataSets& sets, double max_bad_fraction,
                           Comm& comm) {
  const auto list = [](const std::vector<BadFile>& files) {
    json out = json::array();
    for (const BadFile& f : files) out.push_back({f.part, f.index, f.name, f.reason});
    return out;
  };
  const json report = {mine.films,         mine.windows,  list(mine.bad),
                       list(mine.damaged), mine.decode_s, mine.encode_s};
  EncodeReport all;
  for (const std::string& text :
       gather_texts(comm, "what was encoded", report.dump(-1, ' ', false, json::error_handler_t::replace))) {
    const json j = json::parse(text);
    all.films += j[0].get<int64_t>();
    all.windows += j[1].get<int64_t>();
    for (const json& f : j[2]) all.bad.push_back({f[0], f[1], f[2], f[3]});
    for (const json& f : j[3]) all.damaged.push_back({f[0], f[1], f[2], f[3]});
    all.decode_s += j[4].get<double>();
    all.encode_s += j[5].get<double>();
  }
  all.bad = merge_bad_files(std::move(all.bad));
  all.damaged = merge_bad_files(std::move(all.damaged));
  check_bad(all.bad, sets, max_bad_fraction);
  return all;
}

}  // namespace orrery
