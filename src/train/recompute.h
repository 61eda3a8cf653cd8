#pragma once
// Selective activation checkpointing of the DiT: which activations of a block are kept for backward
// (memory.policy); backward makes the others again. Attached from outside; losses and gradients are the same
// bit for bit under every policy. Called by the trainer and by plans.
#include <string>
#include <vector>

#include "autograd/recompute_search.h"
#include "base/config.h"
#include "model/dit.h"
#include "parallel/mesh.h"

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

// memory.policy=auto. A block is measured, or planned, as data (trace_block); best_sets and choose_recompute
// find the least recompute within the memory that is left for activations; the choice is attached.

// What a rank's blocks see of one micro-batch: the largest, where films and images alternate.
struct BlockShape {
  int64_t batch = 1;
  int64_t frames = 1, rows = 1, columns = 1;  // of the patch grid; this rank's own frames
  int64_t times = 1;                          // timesteps of a clip: 1, or frames
  int64_t text_tokens = 1;
};

// What follows from the settings for a rank of this mesh.
BlockShape block_shape(const Config& config, const Mesh& mesh);

// The first block on made-up inputs of this shape, on the network's device, with its exchanges where ranks
// share clips. timed_runs 0: no times, and meta tensors do. Collective where the block's ops or hooks are;
// sharded weights may stay gathered until the next Fsdp::release().
UnitTrace trace_block(DiT& net, const BlockShape& shape, int64_t timed_runs);

// Blocks keep what the choice says. The final layer is no unit: its backward is the first, so that its
// activations never meet those of a block at work.
void attach_recompute(DiT& net, const RecomputeChoice& choice);

// One line for the log: which blocks keep which labels, bytes, and the part of the forward that runs again.
std::string describe(const RecomputeChoice& choice, const UnitTrace& block);

// All of it, with measured times. budget_bytes: for what blocks keep for backward and work with
// (RecomputeCost), on this rank. comm: all ranks, on host memory. Collective: all ranks take the slowest
// rank's times and the smallest budget, so they choose alike; other labels on different ranks would wait in
// different collectives. Returns the line for the log. Throws Error with Exit::out_of_memory on all ranks if
// nothing fits.
std::string attach_auto_recompute(DiT& net, Comm& comm, const BlockShape& shape, int64_t budget_bytes);

}  // namespace orrery
