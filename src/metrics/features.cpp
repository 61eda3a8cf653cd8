#include "metrics/features.h"

#include <ATen/ops/cat.h>

#include "base/error.h"
#include "ckpt/weight_file.h"
#include "media/decode.h"

namespace orrery {

at::Tensor film_features(const FeatureNetwork& network, const std::vector<std::filesystem::path>& films,
                         int64_t frames) {
  require(!films.empty() && frames >= 1, "film_features: ", films.size(), " films of ", frames,
          " frames, wanted at least one of each");
  std::vector<at::Tensor> rows;
  for (const auto& path : films) {
    VideoFile film(path);
    require(film.frames() >= frames, path.string(), ": ", film.frames(), " frames, wanted at least ", frames);
    const at::Tensor row = network(film.read(0, frames).unsqueeze(0)).to(at::kCPU, at::kFloat);
    require(row.dim() == 2 && row.size(0) == 1 && (rows.empty() || row.sizes() == rows[0].sizes()),
            path.string(), ": the network gave features ", row.sizes(), ", wanted ",
            rows.empty() ? "[1,d]" : text_of(rows[0].sizes()));
    rows.push_back(row);
  }
  return at::cat(rows);
}

at::Tensor read_features(const std::filesystem::path& file, const std::string& name) {
  const auto weights = open_weights(file);
  require(!name.empty() || weights->entries().size() == 1, file.string(), ": holds ",
          weights->entries().size(), " tensors, wanted the name of the one with features");
  const at::Tensor features = weights->tensor(name.empty() ? weights->entries().begin()->first : name);
  require(features.is_floating_point() && features.dim() == 2, file.string(), ": features are ",
          features.dtype(), " ", features.sizes(), ", wanted floating point [n,d]");
  return features.clone();  // outlives the mapped file
}

}  // namespace orrery
