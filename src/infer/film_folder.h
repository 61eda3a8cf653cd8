#pragma once
// The folder that films of requests go to. Used by the generate command; several ranks may write into it,
// each its own films.
//
//   STEM.mp4             NAME, or NAME_seedSEED where a sample has several films; .jpg of single images
//   NAME.json            the sample with all defaults filled in; `generate -i NAME.json` makes it again
//   index.html           the gallery (gallery.h), renewed while films come in
//   results/STEM.json    how a film was made: seconds, digest of its file, digest of what went into it
//   results/NAME.given.jpg, results/STEM.last.jpg     the last given frame, and a film's last, small
#include <ATen/core/Tensor.h>

#include <chrono>
#include <optional>

#include "infer/gallery.h"
#include "infer/requests.h"

namespace orrery {

struct FilmItem {
  size_t request = 0;  // which
  int64_t seed = 0;
  std::string stem;
};
// Each request's films in a row, in the requests' order.
std::vector<FilmItem> film_items(const std::vector<FilmRequest>& requests, int64_t num_generations);

// Digest of all that decides a film: the sample, its seed, the contents of its input, the model's weights and
// the settings. model: digest of the weights; settings: as text.
uint64_t film_key(const FilmRequest& request, int64_t seed, uint64_t model, const std::string& settings);

// Digest of the contents of a weights file or of all files of a folder; of a run's checkpoint, of its
// manifest, which has the digests of the rest.
uint64_t weights_digest(const std::filesystem::path& weights);

struct FilmFolderOptions {
  std::vector<std::pair<std::string, std::string>> facts = {};  // about the model, for the gallery
  bool images = false;                                          // the model makes single images
  int64_t fps = 16;
};

class FilmFolder {
 public:
  // Requests must outlive the folder.
  FilmFolder(std::filesystem::path folder, const std::vector<FilmRequest>& requests, int64_t num_generations,
             FilmFolderOptions options);

  const std::vector<FilmItem>& items() const { return items_; }

  // Once, by one rank, before any other call on any: folders and NAME.json. Throws Error if they cannot be
  // written.
  void prepare() const;
  void keep_given(const FilmRequest& request, const at::Tensor& frames) const;  // undefined: none

  // The film is there, whole, and made from the same (film_key).
  bool is_finished(const FilmItem& item, uint64_t key) const;
  void forget(const FilmItem& item) const;  // its result; the film is written over

  // film: uint8 [F,H,W,3].
  void done(const FilmItem& item, const at::Tensor& film, double seconds, uint64_t key) const;
  void failed(const FilmItem& item, const std::string& error, double seconds) const;

  std::filesystem::path film_path(const FilmItem& item) const;
  // From the results in the folder. Unless now: not more often than every two seconds.
  void refresh_gallery(bool now);

 private:
  struct Result;
  std::filesystem::path result_path(const FilmItem& item) const;
  std::filesystem::path given_path(const FilmRequest& request) const;
  std::filesystem::path last_path(const FilmItem& item) const;
  std::optional<Result> result_of(const FilmItem& item) const;  // none, or not readable: nothing
  GalleryFilm gallery_film(const FilmItem& item);

  std::filesystem::path folder_;
  const std::vector<FilmRequest>& requests_;
  FilmFolderOptions options_;
  std::vector<FilmItem> items_;
  std::vector<std::optional<GalleryFilm>> shown_;  // films that were done when last looked at
  std::optional<std::chrono::steady_clock::time_point> refreshed_;
};

}  // namespace orrery
