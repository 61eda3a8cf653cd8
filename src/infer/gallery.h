#pragma once
// index.html beside generated films: what was asked for and what came of it, in one page that needs nothing
// from elsewhere. Written by FilmFolder.
#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

struct GalleryFilm {
  enum class State { waiting, done, failed };
  State state = State::waiting;
  std::string file;  // beside the page: .mp4, or .jpg
  int64_t seed = 0;
  double seconds = 0;
  std::string error = {};      // of a failed one
  std::string last_jpeg = {};  // the bytes of a picture of its last frame, shown until it plays
};

struct GallerySample {
  std::string name, prompt, negative_prompt;
  std::string given_jpeg;  // the bytes of a picture of the last given frame; empty: none is given
  std::vector<std::pair<std::string, std::string>> facts = {};  // "guidance", "7"
  std::vector<GalleryFilm> films = {};
};

struct Gallery {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts = {};  // about the model
  std::vector<GallerySample> samples = {};
};

// HTML in UTF-8; bytes of prompts and names that are no UTF-8 show as replacement characters. While films are
// waiting the page loads itself again every few seconds.
std::string html_of(const Gallery& gallery);

}  // namespace orrery
