#pragma once
// The memory that attention's backward works with on a GPU: of our own kernels for Hopper, of cuDNN's, and of
// cuDNN's where it shall repeat its bits, which is cut into calls for that. Used by ops/cuda, which runs
// them, and by plan/cost.h, which counts it.
//
// cuDNN's deterministic backward keeps a half-type matrix (Sq,Sk) for each head of its call, with queries in
// whole 64 and keys in whole 128 (cudnn-frontend, graph of the deterministic backward before
// Blackwell): 14.3e9 bytes a head at 84,480 tokens, 2.8e9 at 37,440.
#include <c10/util/ArrayRef.h>

#include <cstdint>

#include "ops/attention_tiles.h"

namespace orrery {

// What cuDNN's other backward works with, of q (B,Sq,n,d): sums of dq and a number a row in float32 (8 heads
// of 84,480 tokens: 0.349e9 bytes, as its plan says on H200).
int64_t cudnn_backward_bytes(c10::IntArrayRef q);

// Of a deterministic call, unless one head needs more; figures are of cuDNN on H100, before our own kernels
// took such shapes there. A head's blocks of 128 keys are shared out among the multiprocessors, 132 on an
// H100, and the last round is partly idle: one head of 37,440 tokens is 293 blocks, 2.2 rounds in the time of
// 3 (74 % busy), three are 6.7 in 7 (95 %) and fit here, as do two of 42,240 (5.0 in 5). More heads win
// little: six of 37,440 are 13.3 in 14 for twice the memory. At 84,480 tokens one head is 5.0 in 5, and
// reaches 97 % of the rate that four of 42,240 do (docs/performance.md).
inline constexpr int64_t kMaxDeterministicBytes = int64_t{8} << 30;

struct AttentionParts {
  int64_t entries, heads;  // of a call: batch entries, and heads of each
  int64_t bytes;           // that a call works with
};

// Of q (B,Sq,n,d) and k (B,Sk,n,d) of a half type: whole batch entries where they fit, else some heads of
// one.
AttentionParts deterministic_parts(c10::IntArrayRef q, c10::IntArrayRef k);

// What the backward of our own kernels (ops/attention_tiles.h) works with, of q (B,Sq,n,d): sums of dq and
// two numbers a row in float32, of whole kTiledQueries; deterministic or not, but for 8 bytes each
// kTiledQueries of a head.
int64_t tiled_backward_bytes(c10::IntArrayRef q);

}  // namespace orrery
