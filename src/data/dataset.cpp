#include "data/dataset.h"

#include "base/error.h"

namespace orrery {

ReadClips read_clips(const Dataset& data, uint64_t seed, int64_t count) {
  ReadClips result;
  for (int64_t i = 0; i < data.size() && static_cast<int64_t>(result.clips.size()) < count; ++i) {
    try {
      result.clips.push_back(data.item(i, Rng(seed, "clips", {static_cast<uint64_t>(i)})));
      result.indices.push_back(i);
    } catch (const Error& error) {
      result.bad.push_back({.index = i, .name = data.name(i), .reason = error.what()});
    }
  }
  return result;
}

}  // namespace orrery
