#pragma once
// Selective activation checkpointing of the DiT: which activations of a block are kept for backward
// (memory.policy); backward makes the others again. Attached from outside; losses and gradients are the same
// bit for bit under every policy. Called by the trainer and by plans.
#include <string>
#include <vector>

#include "base/config.h"
#include "model/dit.h"

namespace orrery {

// Label patterns (autograd/save_policy.h) of what a policy keeps. Its modes are those of cosmos-predict2.5
// (networks/selective_activation_checkpoint.py), which goes by the number of a matmul within the block (1 to
// 6 modulations, 7 to 9 self q k v, 10 self out, 11 to 13 cross q k v, 14 cross out, 15 and 16 the MLP) and
// by whether an op's name contains "flash_attn":
//   none                             everything is kept
//   full, block_wise,
//   predict2_2b_720_aggressive_v2    nothing but the input of the block
//   mm_only                          every linear and every attention
//   linear_selfattn                  every linear, and the first attention (self-attention)
//   predict2_2b_720,
//   predict2_14b_720 (the same)      matmuls 9 to 15, and the first attention
//   predict2_2b_720_aggressive       every attention
//   predict2_14b_720_aggressive      matmuls 13 to 15
// The reference's test of the name holds for external flash-attention ops alone: where its attention is
// PyTorch's own, its modes keep none (but mm_only). Ours keep attention whatever kernel computes it.
//
// A linear's own output is enough to keep it from running again: a cast of its weight before it and a reshape
// behind it are made again from what is there. The reference counts anew in the final layer, whose three
// matmuls therefore fall under the modes that keep every linear and under no numbered one.
// Throws Error for auto, which is not a fixed set.
std::vector<std::string> kept_labels(MemoryPolicy policy);

// Makes each block and the final layer a recompute unit that keeps these labels; none: no unit.
void attach_recompute(DiT& net, MemoryPolicy policy);

}  // namespace orrery
