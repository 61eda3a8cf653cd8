#include "infer/context_denoiser.h"

#include "base/error.h"
#include "infer/first_attention.h"
#include "ops/shape.h"
#include "parallel/context_split.h"
#include "parallel/gather_frames.h"
#include "parallel/ulysses.h"

namespace orrery {
namespace {

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

}  // namespace

flow::Denoiser context_denoiser(DiT& net, Comm& context, int64_t head_groups, TextForm text) {
  if (context.size() == 1) {
    auto first = std::make_shared<FirstAttention>(net);
    return [first, evaluate = denoiser_of(net, text)](const flow::DenoiserInput& in) {
      const FirstAttention::Evaluation evaluation(*first, in.apart_from_text);
      return evaluate(in);
    };
  }
  auto group = std::make_shared<ContextGroup>(
      ContextGroup{.comm = &context, .head_groups = head_groups});  // active: a block may be traced first
  for (const auto& block : net.blocks)
    block->self_attn.attention = ulysses(group, block->self_attn.attention);
  auto first = std::make_shared<FirstAttention>(net);
  return [&net, &context, group, first, text](const flow::DenoiserInput& in) {
    const FirstAttention::Evaluation evaluation(*first, in.apart_from_text);
    group->active = in.kind == flow::BatchKind::video;
    if (!group->active) return net(dit_input(in, text));
    DiTInput input = dit_input(local_part(in, context), text);
    input.first_frame = in.x.size(2) / context.size() * context.rank();
    return gather_frames(context, net(input), 2);
  };
}

}  // namespace orrery
