#include "train/parallelize.h"

#include "base/error.h"
#include "infer/context_denoiser.h"
#include "parallel/context_split.h"
#include "train/recompute.h"

namespace orrery {
namespace {

std::unique_ptr<Fsdp> shard(DiT& net, const Mesh& mesh, const Config& config, at::Device device) {
  auto fsdp = std::make_unique<Fsdp>(mesh.along({Axis::shard, Axis::context}), mesh.replicate(), device,
                                     fsdp_config(config));
  const bool reshard = config.parallel.reshard_after_forward;
  fsdp->attach(net.x_embedder, reshard);
  if (net.crossattn_proj) fsdp->attach(*net.crossattn_proj, reshard);
  fsdp->attach(net.t_embedder, reshard);
  for (const auto& block : net.blocks)  // backward needs the last one at once
    fsdp->attach(*block, reshard && block != net.blocks.back());
  fsdp->attach(net.final_layer, false);  // the first in backward
  fsdp->attach(net, false);              // what is left: small, and in use from the first op to the last
  fsdp->require_complete(net);
  net.materialize_buffers(device, fsdp_config(config).compute_dtype);
  return fsdp;
}

}  // namespace

FsdpConfig fsdp_config(const Config& config) {
  const at::ScalarType compute = scalar_type(config.numerics.dtype);
  const at::ScalarType exact = compute == at::kDouble ? at::kDouble : at::kFloat;
  return {.shard_dtype = config.optim.master_weights ? exact : compute,
          .compute_dtype = compute,
          .reduce_dtype = compute == at::kDouble ? at::kDouble : scalar_type(config.numerics.reduce_dtype),
          .prefetch = config.parallel.prefetch,
          .reduce_each_micro_batch = config.parallel.reduce_each_micro_batch};
}

ParallelDiT parallelize_dit(DiT& net, const Mesh& mesh, const Config& config, at::Device device) {
  Comm& context = mesh.context();
  if (config.memory.policy != MemoryPolicy::automatic) attach_recompute(net, config.memory.policy);
  if (context.size() > 1) frame_split(1 + (config.data.frames - 1) / 4, net.config.num_heads, context.size());
  return {shard(net, mesh, config, device), context_denoiser(net, context, config.parallel.head_groups)};
}

}  // namespace orrery
