#include "train/recompute.h"

#include "autograd/save_policy.h"
#include "base/error.h"

namespace orrery {

std::vector<std::string> kept_labels(MemoryPolicy policy) {
  switch (policy) {
    case MemoryPolicy::none:
      return {"*"};
    case MemoryPolicy::full:
    case MemoryPolicy::block_wise:
    case MemoryPolicy::predict2_2b_720_aggressive_v2:
      return {};
    case MemoryPolicy::mm_only:
      return {"*.linear", "*.attention"};
    case MemoryPolicy::linear_selfattn:
      return {"*.linear", "*.self_attn.attention"};
    case MemoryPolicy::predict2_2b_720:
    case MemoryPolicy::predict2_14b_720:
      return {"*.self_attn.v_proj.linear", "*.self_attn.output_proj.linear", "*.self_attn.attention",
              "*.cross_attn.*_proj.linear", "*.mlp.layer1.linear"};
    case MemoryPolicy::predict2_2b_720_aggressive:
      return {"*.attention"};
    case MemoryPolicy::predict2_14b_720_aggressive:
      return {"*.cross_attn.v_proj.linear", "*.cross_attn.output_proj.linear", "*.mlp.layer1.linear"};
    case MemoryPolicy::automatic:
      break;
  }
  fail("memory.policy = ", name_of(policy),
       " is no fixed set: it needs the costs of the network's operations and the memory that is left for "
       "them");
}

void attach_recompute(DiT& net, MemoryPolicy policy) {
  std::shared_ptr<const SavePolicy> save;
  if (policy != MemoryPolicy::none) save = std::make_shared<SavePolicy>(kept_labels(policy));
  for (const auto& block : net.blocks) block->save_policy = save;
  net.final_layer.save_policy = save;
}

}  // namespace orrery
