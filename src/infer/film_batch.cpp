#include "infer/film_batch.h"

#include <ATen/ops/full.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <set>

#include "base/error.h"
#include "infer/request_inputs.h"
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
    if (someone_failed(!error.empty())) {
      if (leads()) fail(item, error.empty() ? "another rank could not read the input" : error, begin);
      return;
    }
    at::Tensor film;
    try {
      film = maker_(request, item.seed, input);
      if (leads()) folder_.done(item, film, seconds() - begin, task.key);
    } catch (const std::exception&) {
      const Ending ending = ending_of(std::current_exception());
      const std::string what = text_of("sample ", item.stem, " (", request.where, "): ", ending.message);
      if (all_.size() > 1 || !options_.keep_going) throw Error(what, ending.code);
      return fail(item, ending.message, begin);
    }
    if (leads()) report(item, place, seconds() - begin);
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

  bool someone_failed(bool here) {
    at::Tensor failed = at::full({1}, here ? 1 : 0, at::kLong);
    all_.all_reduce(failed, ReduceOp::max, "input of a film").wait();
    return failed.item<int64_t>() != 0;
  }

  void fail(const FilmItem& item, const std::string& error, double begin) {
    const std::string line = text_of("sample ", item.stem, " (", requests_[item.request].where, "): ", error);
    if (!options_.keep_going) throw Error(line, Exit::failure);
    failures_.push_back(line);
    options_.say("FAILED " + line);
    folder_.failed(item, error, seconds() - begin);
    folder_.refresh_gallery(false);
  }

  void report(const FilmItem& item, const std::string& place, double all_s) {
    const FilmTimes& t = maker_.times();
    options_.say(text_of(place, " ", folder_.film_path(item).string(), "  ", rounded(all_s), " (encode ",
                         rounded(t.encode_s), ", denoise ", rounded(t.denoise_s), ", decode ",
                         rounded(t.decode_s), ")"));
    folder_.refresh_gallery(false);
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
