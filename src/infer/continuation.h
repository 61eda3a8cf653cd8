#pragma once
// Long films, chunk by chunk: each chunk starts from the last frames of the one before. Called by FilmMaker.
// Source: cosmos-predict2.5, inference/video2world.py (generate_autoregressive_from_batch).
//
// Difference: there the number of overlapping frames is also taken for the number of given latent frames,
// which is right for an overlap of one frame only; here 4 n + 1 overlapping frames are n + 1 latent frames.
#include <vector>

#include "infer/requests.h"

namespace orrery {

struct FilmChunk {
  int64_t first = 0, frames = 0;  // of the film; the model's clip may be longer
  int64_t given = 0;              // latent frames that the chunk starts from
  int64_t carried = 0;            // frames of the chunk before that it takes over
  int64_t seed = 0;
};

// seed: of the film. Without enable_autoregressive, one chunk of the model's length.
std::vector<FilmChunk> film_chunks(const FilmRequest& request, int64_t seed, int64_t model_frames);

}  // namespace orrery
