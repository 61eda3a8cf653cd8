#pragma once
// Latents of the films of a run, into a cache: threads decode clips ahead while the tokenizer encodes. Called
// by `orrery encode`.
#include <functional>

#include "base/config.h"
#include "data/film_latents.h"
#include "model/tokenizer.h"
#include "parallel/comm.h"

namespace orrery {

struct FilmToEncode {
  FilmsOf part;
  int64_t index;  // in its data set
};
// Those that the cache lacks, or has of a file that has changed since; in order.
std::vector<FilmToEncode> films_to_encode(const DataConfig& config, const DataSets& sets,
                                          std::shared_ptr<const ShardCache> cache);

// The films are cut into shards of equally many, in order, and the ranks take turns: what lies in which shard
// does not depend on the number of ranks.
struct EncodeJob {
  std::vector<FilmToEncode> films;
  std::filesystem::path folder;  // of a ShardCache that was prepared
  int64_t first_shard = 0;
  int64_t windows = 1;  // of a film (window_starts)
  int64_t films_per_shard = 16;
  int64_t rank = 0, ranks = 1;
};

struct EncodeReport {
  int64_t films = 0, windows = 0;
  std::vector<BadFile> bad, damaged;  // as the loader's; a film with a clip that cannot be read is bad
  double decode_s = 0, encode_s = 0;  // waited for clips; in the tokenizer
};

// This rank's shards. film_done: after each film, with their number so far. Throws
// Error(bad_data) as soon as more than data.max_bad_fraction of the films are bad; what is done stays.
EncodeReport encode_films(const Config& config, const DataSets& sets, const VideoTokenizer& tokenizer,
                          const EncodeJob& job, const std::function<void(int64_t)>& film_done);

// The reports of all ranks as one, bad films by name. Throws as encode_films where all ranks' bad films
// together are too many. Collective.
EncodeReport merge_reports(const EncodeReport& mine, const DataSets& sets, double max_bad_fraction,
                           Comm& comm);

}  // namespace orrery
