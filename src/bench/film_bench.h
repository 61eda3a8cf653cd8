#pragma once
// FilmBench: the denoising of a film with made-up weights, text and latents, step by step, and then looked
// into. Called by orrery bench film.
#include "base/config.h"
#include "bench/label_times.h"
#include "parallel/world.h"

namespace orrery {

struct FilmBenchOptions {
  int64_t warm_up = 1, steps = 3;  // steps of the sampler
  int64_t branches = 1;            // 2: two groups of ranks take a branch of the guidance each
};

struct FilmBench {
  Config config;  // model, data: the film; sample: sampler, steps, guidance; numerics
  FilmBenchOptions options;
  int ranks = 1, context = 1;
  std::vector<double> step_ms = {};  // of each timed step, on the slowest rank
  std::vector<TimeRow> rows = {};    // of one further step, on the first rank
  double profiled_ms = 0;            // of that step
  double median_ms() const;
  double flops() const;  // of the first rank: products and attention of the profiled step
};

// All ranks make one film: branches x context of them; Error where parallel.replicate, shard or context say
// otherwise. A step is what the sampler does for a noise level: both branches of the guidance, their
// combination and the new state; it begins and ends with the device idle. Collective.
FilmBench bench_film(const Config& config, World& world, const FilmBenchOptions& options);

// Lines of text, at most `rows` rows of the table; one line of JSON.
std::string describe(const FilmBench& bench, int64_t rows);
std::string json_of(const FilmBench& bench);

}  // namespace orrery
