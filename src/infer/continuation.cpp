#include "infer/continuation.h"

namespace orrery {

std::vector<FilmChunk> film_chunks(const FilmRequest& r, int64_t seed, int64_t model_frames) {
  if (!r.enable_autoregressive) return {{0, model_frames, r.given(), 0, seed}};
  const int64_t stride = r.chunk_size - r.chunk_overlap;
  const int64_t rest = std::max<int64_t>(0, r.num_output_frames - r.chunk_size);
  const int64_t chunks = 1 + (rest + stride - 1) / stride;
  std::vector<FilmChunk> all;
  for (int64_t k = 0; k < chunks; ++k) {
    const int64_t first = k * stride, overlap = k == 0 ? 0 : r.chunk_overlap;
    all.push_back({.first = first,
                   .frames = std::min(r.chunk_size, r.num_output_frames - first),
                   .given = k == 0 ? r.given() : (overlap + 3) / 4,
                   .carried = overlap,
                   .seed = seed + k});
  }
  return all;
}

}  // namespace orrery
