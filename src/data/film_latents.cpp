#include "data/film_latents.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "ckpt/digest.h"
#include "ckpt/file_io.h"
#include "data/caption.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct SizeAndTime {
  int64_t bytes, modified_ns;
};
SizeAndTime size_and_time(const fs::path& path) {
  struct stat found {};
  require(::stat(path.c_str(), &found) == 0, path.string(), ": cannot be looked at (removed?)");
  constexpr int64_t kNanoseconds = 1'000'000'000;
  return {found.st_size, found.st_mtim.tv_sec * kNanoseconds + found.st_mtim.tv_nsec};
}

uint64_t digest_of_file(const fs::path& path) {
  const OpenFile file(path, O_RDONLY);
  DigestStream digest;
  file.for_each_part(0, file.size(), [&](std::string_view part) { digest.add(part); });
  return digest.value();
}

}  // namespace

FileState file_state(const fs::path& path) {
  const SizeAndTime now = size_and_time(path);
  return {now.bytes, now.modified_ns, digest_of_file(path)};
}

bool is_unchanged(const fs::path& path, const FileState& state) {
  const SizeAndTime now = size_and_time(path);
  if (now.bytes != state.bytes) return false;
  return now.modified_ns == state.modified_ns || digest_of_file(path) == state.digest;
}

std::string about_text(const FilmLatents& film) {
  return json{{"file", {film.file.bytes, film.file.modified_ns, hex_of(film.file.digest)}},
              {"shape", {film.shape.frames, film.shape.height, film.shape.width}},
              {"first_frames", film.first_frames},
              {"fps", film.clip.fps},
              {"source", {film.clip.source_frames, film.clip.source_height, film.clip.source_width}},
              {"remark", film.clip.remark},
              {"padded", film.is_padded}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

FilmLatents film_latents(const std::string& about, const std::string& where) {
  try {
    const json j = json::parse(about);
    const json &file = j.at("file"), &shape = j.at("shape"), &source = j.at("source");
    FilmLatents film{.file = {file.at(0), file.at(1), 0},
                     .shape = {shape.at(0), shape.at(1), shape.at(2)},
                     .first_frames = j.at("first_frames").get<std::vector<int64_t>>(),
                     .clip = {.fps = j.at("fps"),
                              .source_frames = source.at(0),
                              .source_height = source.at(1),
                              .source_width = source.at(2),
                              .remark = j.at("remark")},
                     .is_padded = j.at("padded")};
    if (parse_hex(file.at(2).get<std::string>(), film.file.digest) && !film.first_frames.empty()) return film;
  } catch (const json::exception&) {
  }
  throw Error(where + ": an item that describes no film", Exit::bad_data);
}

std::string item_name(FilmsOf part, const FilmFile& file) {
  const std::string name = (file.film.parent_path().filename() / file.film.filename()).string();
  return is_utf8(name) ? (part == FilmsOf::videos ? "films/" : "images/") + name : "";
}

std::vector<int64_t> window_starts(int64_t starts, int64_t windows) {
  const int64_t count = windows == 0 ? starts : std::min(starts, windows);
  std::vector<int64_t> chosen;
  for (int64_t k = 0; k < count; ++k) chosen.push_back(count == 1 ? 0 : k * (starts - 1) / (count - 1));
  return chosen;
}

}  // namespace orrery
