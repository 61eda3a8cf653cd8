#include "cli/ranks_here.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <thread>

#include "cli/machine.h"

namespace orrery::cli {

void share_cores(const World& world) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  at::set_num_threads(std::max(1, cores / world.local_size()));
}

std::optional<Ceilings> ceilings_here(const Config& config, const World& world) {
  const MachineFacts facts = look_at_machine(config.train.run_dir);
  if (config.numerics.device == Device::cpu) {
    Ceilings c = read_ceilings("cpu");
    c.memory_gib = static_cast<double>(facts.memory_bytes) / (1 << 30) / world.local_size();
    c.ranks_per_node = world.local_size();
    return c;
  }
  for (const auto& [model, name] : {std::pair{"B200", "b200"}, {"H200", "h200"}, {"H100", "h100"}})
    for (const std::string& gpu : facts.gpus)
      if (gpu.find(model) != std::string::npos) return as_built(read_ceilings(name));
  return {};
}

std::vector<int> nodes_of(const World& world) {
  std::vector<int> nodes;
  for (int r = 0; r < world.size(); ++r) nodes.push_back(world.node_of(r));
  return nodes;
}

}  // namespace orrery::cli
