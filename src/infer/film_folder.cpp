#include "infer/film_folder.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "ckpt/atomic_file.h"
#include "ckpt/digest.h"
#include "infer/request_fields.h"
#include "media/encode.h"
#include "media/resize.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kPictureHeight = 240;  // at most, of the pictures in the gallery
constexpr auto kRefreshPause = std::chrono::seconds(2);

std::string text_of_json(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void add_file(DigestStream& digest, const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string block(size_t{1} << 20, '\0');
  while (in.good()) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    digest.add(std::string_view(block).substr(0, static_cast<size_t>(in.gcount())));
  }
  require(in.eof(), file.string(), ": cannot be read");
}

uint64_t digest_of_file(const fs::path& file) {
  DigestStream digest;
  add_file(digest, file);
  return digest.value();
}

std::string bytes_of_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A small picture of the last frame.
void write_last(const fs::path& file, const at::Tensor& frames) {
  at::Tensor last = frames.slice(0, frames.size(0) - 1);
  const int64_t height = last.size(1), width = last.size(2);
  if (height > kPictureHeight)
    last = resize_stretch(last, kPictureHeight, std::max<int64_t>(1, width * kPictureHeight / height));
  write_jpeg(file, last[0]);
}

}  // namespace

std::vector<FilmItem> film_items(const std::vector<FilmRequest>& requests, int64_t num_generations) {
  std::vector<FilmItem> items;
  for (size_t i = 0; i < requests.size(); ++i)
    for (int64_t k = 0; k < num_generations; ++k)
      items.push_back({i, requests[i].seed + k, film_stem(requests[i], k, num_generations)});
  return items;
}

uint64_t film_key(const FilmRequest& request, int64_t seed, uint64_t model, const std::string& settings) {
  DigestStream digest;
  Json sample = json_of(request);
  sample["seed"] = seed;
  sample["input_path"] = nullptr;  // what is in it counts
  digest.add(text_of_json(sample));
  if (request.given() > 0) add_file(digest, request.input_path);
  digest.add(text_of("\nmodel ", hex_of(model), "\n", settings));
  return digest.value();
}

uint64_t weights_digest(const fs::path& weights) {
  if (!fs::is_directory(weights)) return digest_of_file(weights);
  if (fs::exists(weights / "manifest.json")) return digest_of_file(weights / "manifest.json");
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(weights))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  DigestStream digest;
  for (const fs::path& file : files) {
    digest.add(file.lexically_relative(weights).string() + "\n");
    add_file(digest, file);
  }
  return digest.value();
}

struct FilmFolder::Result {
  bool is_done = false;
  std::string error;
  double seconds = 0;
  std::string key, digest;
};

FilmFolder::FilmFolder(fs::path folder, const std::vector<FilmRequest>& requests, int64_t num_generations,
                       FilmFolderOptions options)
    : folder_(std::move(folder)),
      requests_(requests),
      options_(std::move(options)),
      items_(film_items(requests, num_generations)),
      shown_(items_.size()) {}

void FilmFolder::prepare() const {
  std::error_code error;
  fs::create_directories(folder_ / "results", error);
  require(!error, "output folder ", folder_.string(), " cannot be made: ", error.message());
  for (const FilmRequest& request : requests_)
    write_whole(folder_ / (request.name + ".json"), text_of_json(json_of(request)));
}

void FilmFolder::keep_given(const FilmRequest& request, const at::Tensor& frames) const {
  const fs::path file = given_path(request);
  if (frames.defined())
    write_last(file, frames);
  else
    fs::remove(file);
}

fs::path FilmFolder::given_path(const FilmRequest& request) const {
  return folder_ / "results" / (request.name + ".given.jpg");
}

fs::path FilmFolder::last_path(const FilmItem& item) const {
  return folder_ / "results" / (item.stem + ".last.jpg");
}

fs::path FilmFolder::film_path(const FilmItem& item) const {
  return folder_ / (item.stem + (options_.images ? ".jpg" : ".mp4"));
}

fs::path FilmFolder::result_path(const FilmItem& item) const {
  return folder_ / "results" / (item.stem + ".json");
}

// A file that is not one of ours counts as none: the film is made again.
std::optional<FilmFolder::Result> FilmFolder::result_of(const FilmItem& item) const {
  const Json json = Json::parse(bytes_of_file(result_path(item)), nullptr, false);
  if (!json.is_object()) return {};
  Result result;
  try {
    result.is_done = json.at("status").get<std::string>() == "done";
    result.seconds = json.at("seconds").get<double>();
    if (result.is_done) {
      result.key = json.at("made_from").get<std::string>();
      result.digest = json.at("digest").get<std::string>();
    } else {
      result.error = json.at("error").get<std::string>();
    }
  } catch (const Json::exception&) {
    return {};
  }
  return result;
}

bool FilmFolder::is_finished(const FilmItem& item, uint64_t key) const {
  const auto result = result_of(item);
  if (!result || !result->is_done || result->key != hex_of(key)) return false;
  const fs::path film = film_path(item);
  return fs::is_regular_file(film) && hex_of(digest_of_file(film)) == result->digest;
}

void FilmFolder::forget(const FilmItem& item) const {
  fs::remove(result_path(item));
}

void FilmFolder::done(const FilmItem& item, const at::Tensor& film, double seconds, uint64_t key) const {
  const fs::path path = film_path(item);
  if (options_.images)
    write_jpeg(path, film[0]);
  else
    write_mp4(path, film, {.fps = {options_.fps, 1}});
  write_last(last_path(item), film);
  write_whole(result_path(item), text_of_json({{"status", "done"},
                                               {"seed", item.seed},
                                               {"seconds", seconds},
                                               {"frames", film.size(0)},
                                               {"digest", hex_of(digest_of_file(path))},
                                               {"made_from", hex_of(key)}}));
}

void FilmFolder::failed(const FilmItem& item, const std::string& error, double seconds) const {
  write_whole(
      result_path(item),
      text_of_json({{"status", "failed"}, {"seed", item.seed}, {"seconds", seconds}, {"error", error}}));
}

GalleryFilm FilmFolder::gallery_film(const FilmItem& item) {
  GalleryFilm film{.file = film_path(item).filename().string(), .seed = item.seed};
  const auto result = result_of(item);
  if (!result) return film;
  film.state = result->is_done ? GalleryFilm::State::done : GalleryFilm::State::failed;
  film.seconds = result->seconds;
  film.error = result->error;
  if (result->is_done) film.last_jpeg = bytes_of_file(last_path(item));
  return film;
}

void FilmFolder::refresh_gallery(bool now) {
  const auto time = std::chrono::steady_clock::now();
  if (!now && refreshed_ && time - *refreshed_ < kRefreshPause) return;
  refreshed_ = time;
  Gallery gallery{.title = "Generated films: " + fs::absolute(folder_).lexically_normal().filename().string(),
                  .facts = options_.facts};
  for (const FilmRequest& r : requests_) {
    gallery.samples.push_back({.name = r.name,
                               .prompt = r.prompt,
                               .negative_prompt = r.negative_prompt,
                               .given_jpeg = r.given() > 0 ? bytes_of_file(given_path(r)) : "",
                               .facts = {{std::string(name_of(r.type)), ""},
                                         {"guidance", text_of(r.guidance)},
                                         {"steps", text_of(r.num_steps)}}});
  }
  for (size_t i = 0; i < items_.size(); ++i) {
    if (!shown_[i]) shown_[i] = gallery_film(items_[i]);
    gallery.samples[items_[i].request].films.push_back(*shown_[i]);
    if (shown_[i]->state != GalleryFilm::State::done) shown_[i].reset();
  }
  write_whole(folder_ / "index.html", html_of(gallery));
}

}  // namespace orrery
