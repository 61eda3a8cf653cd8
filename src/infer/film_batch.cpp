#include "infer/film_batch.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <set>

#include "base/error.h"
#include "infer/request_inputs.h"
#include "parallel/agreement.h"
#include "parallel/world.h"

namespace orrery {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string rounded(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  return text.data();
}

class Batch {
 public:
  Batch(FilmFolder& folder, const std::vector<FilmRequest>& requests, FilmMaker& maker, Comm& all,
        const BatchOptions& options)
      : folder_(folder), requests_(requests), maker_(maker), all_(all), options_(options) {}

  void make(const FilmTask& task, const std::string& place) {
    const FilmItem& item = folder_.items()[task.item];
    const FilmRequest& request = requests_[item.request];
    const double begin = seconds();
    std::string error;
    const at::Tensor input = read(request, error);
    const std::string errors = gathered(error);
    if (!errors.empty()) {
      if (leads()) fail(item, {Exit::failure, errors}, begin);
      return;
    }
    at::Tensor film;
    try {
      film = maker_(request, item.seed, input);
    } catch (const std::exception&) {
      const Ending ending = ending_of(std::current_exception());
      if (all_.size() > 1) throw Error(line_of(item, ending.message), ending.code);
      return fail(item, ending, begin);
    }
    if (leads()) keep(task, film, place, begin);
  }

  std::vector<std::string> failures() && { return std::move(failures_); }

 private:
  bool leads() const { return all_.rank() == 0; }

  at::Tensor read(const FilmRequest& request, std::string& error) const {
    try {
      return given_frames(request, options_.max_pixels);
    } catch (const std::exception& e) {
      error = e.what();
      return {};
    }
  }

  // What the group's ranks could not do, on every rank; empty: all could. The first rank's speaks for those
  // that say the same.
  std::string gathered(const std::string& error) {
    std::string all;
    std::set<std::string> said;
    const std::vector<std::string> errors = gather_texts(all_, "input of a film", error);
    for (size_t rank = 0; rank < errors.size(); ++rank) {
      if (errors[rank].empty() || !said.insert(errors[rank]).second) continue;
      all += all.empty() ? "" : "; ";
      if (rank > 0) all += text_of("rank ", rank, " of the ", errors.size(), " that make it: ");
      all += errors[rank];
    }
    return all;
  }

  std::string line_of(const FilmItem& item, const std::string& error) const {
    return text_of("sample ", item.stem, " (", requests_[item.request].where, "): ", error);
  }

  // The leader alone: no rank waits for it, so that a failure concerns this film only.
  void keep(const FilmTask& task, const at::Tensor& film, const std::string& place, double begin) {
    const FilmItem& item = folder_.items()[task.item];
    try {
      folder_.done(item, film, seconds() - begin, task.key);
    } catch (const std::exception&) {
      return fail(item, ending_of(std::current_exception()), begin);
    }
    report(item, place, seconds() - begin);
  }

  void fail(const FilmItem& item, const Ending& ending, double begin) {
    const std::string line = line_of(item, ending.message);
    if (!options_.keep_going) throw Error(line, ending.code);
    failures_.push_back(line);
    options_.say("FAILED " + line);
    note([&] { folder_.failed(item, ending.message, seconds() - begin); });
    note([&] { folder_.refresh_gallery(false); });
  }

  void report(const FilmItem& item, const std::string& place, double all_s) {
    const FilmTimes& t = maker_.times();
    options_.say(text_of(place, " ", folder_.film_path(item).string(), "  ", rounded(all_s), " (encode ",
                         rounded(t.encode_s), ", denoise ", rounded(t.denoise_s), ", decode ",
                         rounded(t.decode_s), ")"));
    note([&] { folder_.refresh_gallery(false); });
  }

  // Writes what lies beside the films: films go on without it, and the gallery is written again at the end.
  template <class Write>
  void note(const Write& write) {
    try {
      write();
    } catch (const std::exception& e) {
      if (!options_.keep_going) throw;
      options_.say(text_of("warning: ", e.what()));
    }
  }

  FilmFolder& folder_;
  const std::vector<FilmRequest>& requests_;
  FilmMaker& maker_;
  Comm& all_;
  const BatchOptions& options_;
  std::vector<std::string> failures_;
};

}  // namespace

std::vector<std::string> texts_of(const FilmFolder& folder, const std::vector<FilmRequest>& requests,
                                  const std::vector<FilmTask>& tasks, const FilmShare& share) {
  std::vector<std::string> texts;
  std::set<std::string> known;
  for (auto i = static_cast<size_t>(share.group); i < tasks.size();
       i += static_cast<size_t>(share.num_groups)) {
    const FilmRequest& r = requests[folder.items()[tasks[i].item].request];
    for (const std::string& text : {r.prompt, r.negative_prompt})
      if (known.insert(text).second) texts.push_back(text);
  }
  return texts;
}

std::vector<std::string> make_films(FilmFolder& folder, const std::vector<FilmRequest>& requests,
                                    const std::vector<FilmTask>& tasks, FilmMaker& maker, Comm& all,
                                    const BatchOptions& options) {
  Batch batch(folder, requests, maker, all, options);
  const auto step = static_cast<size_t>(options.share.num_groups);
  for (auto i = static_cast<size_t>(options.share.group); i < tasks.size(); i += step)
    batch.make(tasks[i], text_of("[", i + 1, "/", tasks.size(), "]"));
  return std::move(batch).failures();
}

}  // namespace orrery
