#pragma once
// Features of films, which Fréchet distances compare. The networks that give the published FVD (I3D,
// VideoMAE) and FID (Inception) are not part of this program: their owner hands in either a function, or a
// file of features that another program has made. Used by `orrery metrics` and by tests.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace orrery {

// uint8 [B,F,H,W,3] RGB to floating point [B,d]; scaling and resizing to what it was trained on are its own.
using FeatureNetwork = std::function<at::Tensor(const at::Tensor& clips)>;

// float32 [n,d] on the CPU: the network on the first `frames` frames of each film, one film a call. Error: a
// film that is too short, a result of another shape.
at::Tensor film_features(const FeatureNetwork& network, const std::vector<std::filesystem::path>& films,
                         int64_t frames);

// The features [n,d] in a file of any format of weights (ckpt/weight_file.h): the tensor of this name, or the
// only one where the name is empty. Error: none or several, not floating [n,d].
at::Tensor read_features(const std::filesystem::path& file, const std::string& name = {});

}  // namespace orrery
