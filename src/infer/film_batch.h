#pragma once
// Makes the films of a list of requests, shared out over groups of ranks. Called by the generate command.
#include "infer/film_folder.h"
#include "infer/film_maker.h"

namespace orrery {

struct FilmShare {
  int group = 0, num_groups = 1;  // this group makes every num_groups-th film of those to be made
};

struct BatchOptions {
  bool keep_going = true;            // a film that fails is reported, and the next one is made
  int64_t max_pixels = 7680 * 4320;  // of a frame of an input
  FilmShare share{};
  std::function<void(const std::string&)> say = [](const std::string&) {};  // a line a film, on the leader
};

// A film to be made, and what film_key says of it.
struct FilmTask {
  size_t item = 0;  // of the folder's items
  uint64_t key = 0;
};

// The texts of this group's films, each once.
std::vector<std::string> texts_of(const FilmFolder& folder, const std::vector<FilmRequest>& requests,
                                  const std::vector<FilmTask>& tasks, const FilmShare& share);

// The maker has learnt these. Collective over the group (all: its ranks, on the CPU). Returns what failed, a
// line each, on the leader. Throws Error at the first failure unless keep_going, and in any case where a rank
// of a larger group fails while it makes a film, since the others wait for it; not where the leader cannot
// write one that is made.
std::vector<std::string> make_films(FilmFolder& folder, const std::vector<FilmRequest>& requests,
                                    const std::vector<FilmTask>& tasks, FilmMaker& maker, Comm& all,
                                    const BatchOptions& options);

}  // namespace orrery
