#include "train/parallelize.h"

#include "base/error.h"
#include "infer/world_model.h"
#include "ops/shape.h"
#include "parallel/context_split.h"
#include "parallel/gather_frames.h"
#include "parallel/ulysses.h"
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

// The part of a clip's input that this rank computes.
flow::DenoiserInput local_part(const flow::DenoiserInput& in, Comm& context) {
  require(!in.x.needs_grad(),
          "context parallelism: the network's input needs a gradient, which is not computed");
  const int64_t frames = in.x.size(2), mine = frames / context.size(), begin = mine * context.rank();
  require(frames % context.size() == 0, "context parallelism: ", frames, " latent frames on ", context.size(),
          " ranks, wanted equal parts");
  flow::DenoiserInput out = in;
  out.x = ops::slice(in.x, 2, begin, begin + mine);
  if (in.timesteps.size(1) == frames) out.timesteps = ops::slice(in.timesteps, 1, begin, begin + mine);
  out.condition_mask = local_frames(in.condition_mask, 2, context);
  return out;
}

flow::Denoiser context_denoiser(DiT& net, Comm& context) {
  auto group = std::make_shared<ContextGroup>(ContextGroup{.comm = &context, .active = false});
  for (const auto& block : net.blocks)
    block->self_attn.attention = ulysses(group, block->self_attn.attention);
  return [&net, &context, group](const flow::DenoiserInput& in) {
    group->active = in.kind == flow::BatchKind::video;
    if (!group->active) return net(dit_input(in));
    DiTInput input = dit_input(local_part(in, context));
    input.first_frame = in.x.size(2) / context.size() * context.rank();
    return gather_frames(context, net(input), 2);
  };
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
  return {shard(net, mesh, config, device),
          context.size() > 1 ? context_denoiser(net, context) : denoiser_of(net)};
}

}  // namespace orrery
