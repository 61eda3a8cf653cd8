#include "infer/load_wan_vae.h"

#include <set>

#include "ckpt/key_rules.h"

namespace orrery {
namespace {

std::set<std::string> keys_of(const WanVaeConfig& config, WanVaePart part) {
  const WanVae net(config, part);
  std::set<std::string> keys;
  for (const Parameter* p : net.parameters()) keys.insert(p->key());
  return keys;
}

// The file's tensors of the half that is not built.
std::vector<std::string> of_other_half(const WeightFile& file, const WanVaeConfig& config, WanVaePart part) {
  if (part == WanVaePart::both) return {};
  std::vector<std::string> names;
  for (const std::string& key :
       keys_of(config, part == WanVaePart::encoder ? WanVaePart::decoder : WanVaePart::encoder))
    if (file.contains(key)) names.push_back(key);
  return names;
}

}  // namespace

LoadedWanVae load_wan_vae(const std::filesystem::path& file, const WanVaeConfig& config, WanVaePart part,
                          at::ScalarType type, at::Device device) {
  auto net = std::make_unique<WanVae>(config, part);
  net->materialize(device, type);
  net->set_needs_grad(false);
  const std::unique_ptr<WeightFile> weights = open_weights(file);
  LoadRequest request;
  for (const Parameter* p : net->parameters())
    request.parameters.push_back({p->key(), p->shape(), 0, p->value()});
  request.partial = of_other_half(*weights, config, part);
  std::string report = load_shards(*weights, request);
  return {std::move(net), std::move(report)};
}

}  // namespace orrery
