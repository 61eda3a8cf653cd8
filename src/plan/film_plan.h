#pragma once
// What making a film takes: memory of a rank, and seconds, by a dry run of one evaluation of the network on
// meta tensors. Called by the generate command before it loads weights.
#include "base/config.h"
#include "plan/ceilings.h"

namespace orrery {

struct FilmWork {
  int64_t height = 0, width = 0;  // of the film
  int64_t context = 1;            // ranks that share its latent frames
  int64_t evaluations = 70;       // of the network, by one rank, one after the other
};

struct FilmPlan {
  double weights = 0, activations = 0,
         exchanges = 0;  // bytes; the tokenizer's and text encoder's are not in it
  double reserved = 0, fragmentation = 0, limit = 0;
  double denoise_s = 0;
  double total() const { return weights + activations + exchanges + reserved + fragmentation; }
  bool fits() const { return total() <= limit; }
};

// limit: memory.limit_gib, or all that the device has.
FilmPlan plan_film(const Config& config, const FilmWork& work, const Ceilings& ceilings);

// "41.2 of 80.0 GiB a rank (weights 3.8, activations 30.1, ...); 172 s a film", without the tokenizer's
// share.
std::string one_line(const FilmPlan& plan);

}  // namespace orrery
