#pragma once
// What a cache knows of a film: its latents, and from which file they came. Written by the encoder
// (infer/encode_films.h), read by cached_films.h.
//
// Items of a ShardCache named "films/videos/0001.mp4", or "images/..." where one-frame clips are made of
// data.image_path; tensors "latents" [windows,C,T,h,w] and, for padded clips, "mask" float32 [H,W].
#include "data/dataset.h"
#include "data/shard_cache.h"
#include "data/video_folder.h"

namespace orrery {

// A film is the same file if size and time of change are the same, or else size and contents (a copy).
struct FileState {
  int64_t bytes = 0, modified_ns = 0;
  uint64_t digest = 0;
};
FileState file_state(const std::filesystem::path& path);  // reads the whole file
bool is_unchanged(const std::filesystem::path& path, const FileState& state);

struct FilmLatents {
  FileState file = {};
  ClipShape shape = {};                    // of the clips, in pixels
  std::vector<int64_t> first_frames = {};  // of each window
  Clip clip = {};          // what is the same of all clips of the film; no caption, video or mask
  bool is_padded = false;  // there is a mask
};
std::string about_text(const FilmLatents& film);
FilmLatents film_latents(const std::string& about, const std::string& where);  // Error (bad_data)

enum class FilmsOf { videos, images };  // data.path; data.image_path
// Empty: the file's name is not UTF-8, so that the film cannot be in a cache.
std::string item_name(FilmsOf part, const FilmFile& file);

// First frames of up to `windows` clips of a film, evenly spread from its first start to its last, of the
// `starts` that there are; 0: all of them.
std::vector<int64_t> window_starts(int64_t starts, int64_t windows);

}  // namespace orrery
