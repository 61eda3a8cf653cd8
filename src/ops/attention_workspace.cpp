#include "ops/attention_workspace.h"

#include <algorithm>

#include "ops/rounded_up.h"

namespace orrery {
namespace {

constexpr int64_t kHalfBytes = 2, kFloatBytes = 4;

}  // namespace

AttentionParts deterministic_parts(c10::IntArrayRef q, c10::IntArrayRef k) {
  const int64_t batch = q[0], heads = q[2];
  const int64_t head_bytes = rounded_up(q[1], 64) * rounded_up(k[1], 128) * kHalfBytes;
  const int64_t fitting = std::max<int64_t>(kMaxDeterministicBytes / head_bytes, 1);
  AttentionParts parts{.entries = std::clamp<int64_t>(fitting / heads, 1, batch),
                       .heads = std::min(fitting, heads),
                       .bytes = 0};
  parts.bytes = parts.entries * parts.heads * head_bytes;
  return parts;
}

int64_t cudnn_backward_bytes(c10::IntArrayRef q) {
  return q[0] * q[1] * q[2] * (q[3] + 1) * kFloatBytes;
}

int64_t tiled_backward_bytes(c10::IntArrayRef q) {
  return q[0] * q[2] * rounded_up(q[1], kTiledQueries) * (q[3] + 2) * kFloatBytes;
}

}  // namespace orrery
