#include "plan/dry_run.h"

#include <algorithm>
#include <functional>

#include "plan/auto_run.h"
#include "plan/planned_rank.h"

namespace orrery {
namespace {

constexpr double kGiB = 1 << 30;

}  // namespace

void finish(PlanReport& r, const Ceilings& ceilings) {
  r.reserved = kGiB * ceilings.reserved_gib;
  r.fragmentation = ceilings.fragmentation * static_cast<double>(r.fullest().total());
  r.limit = kGiB * (r.config.memory.limit_gib > 0 ? r.config.memory.limit_gib : ceilings.memory_gib);
  r.clip_flops = forward_flops(r.config);
  r.clips_per_s = static_cast<double>(r.config.train.batch) / r.step_s;
  r.mfu = 3 * r.clip_flops * r.clips_per_s / (r.mesh.size() * 1e12 * ceilings.peak_tflops);
}

const MemoryUsage& PlanReport::fullest() const {
  return std::max({std::cref(memory), std::cref(encoding), std::cref(sampling)},
                  [](const MemoryUsage& a, const MemoryUsage& b) { return a.total() < b.total(); });
}

double PlanReport::total() const {
  return static_cast<double>(fullest().total()) + reserved + fragmentation;
}

std::vector<int> nodes_of(int64_t ranks, const Ceilings& ceilings) {
  std::vector<int> nodes;
  for (int64_t r = 0; r < ranks; ++r)
    nodes.push_back(static_cast<int>(r / static_cast<int64_t>(ceilings.ranks_per_node)));
  return nodes;
}

double forward_flops(const Config& config) {
  const DiTConfig c = dit_config(config);
  const LatentShape l = latent_shape(config);
  const auto D = static_cast<double>(c.model_channels), L = static_cast<double>(c.num_blocks);
  const auto patch = static_cast<double>(c.patch_temporal * c.patch_spatial * c.patch_spatial);
  const double S = static_cast<double>(l.frames * l.height * l.width) / patch;
  const auto N = static_cast<double>(text_tokens(config)), C = static_cast<double>(c.crossattn_emb_channels);
  const double projections = (12 + 4 * c.mlp_ratio) * D * D * S;  // self-attention 4, cross-attention 2, MLP
  const double block = projections + 4 * S * S * D + 4 * S * N * D + 4 * C * D * N;
  const double ends = 2 * patch * static_cast<double>(c.embed_channels() + c.out_channels) * D * S;
  const double text =
      c.use_crossattn_projection ? 2 * static_cast<double>(c.crossattn_proj_in_channels) * C * N : 0;
  return L * block + ends + text;
}

PlanReport dry_run(const Config& config, const std::vector<int>& node_of, const Ceilings& ceilings) {
  if (config.memory.policy == MemoryPolicy::automatic) return auto_run(config, node_of, ceilings).report;
  PlanReport report = PlannedRank(config, node_of, ceilings).run();
  finish(report, ceilings);
  return report;
}

}  // namespace orrery
