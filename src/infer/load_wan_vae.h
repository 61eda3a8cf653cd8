#pragma once
// Reads the weights of the Wan2.1 video autoencoder: Wan2.1_VAE.pth, which is also Cosmos-Predict2.5's
// tokenizer.pth, or the same tensors in any format of ckpt/weight_file.h.
#include <filesystem>

#include "model/wan_vae.h"

namespace orrery {

struct LoadedWanVae {
  std::unique_ptr<WanVae> net;  // needs no gradients
  std::string report;           // ckpt/key_rules.h
};

// The half that is asked for, in `type` on `device`. Every tensor of it must be in the file with its shape,
// and every tensor of the file must be one of the network's, of either half; else Error with the lists.
LoadedWanVae load_wan_vae(const std::filesystem::path& file, const WanVaeConfig& config, WanVaePart part,
                          at::ScalarType type, at::Device device);

}  // namespace orrery
