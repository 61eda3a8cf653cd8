#pragma once
// What the kernels of attention's backward share (attention_backward_wgmma.cu, attention_backward_rows.cu):
// how sums of dq lie in global memory, and who calls whom.
//
// Sums of a head are tiles of kQueries, each in two groups of 64 channels as the 128 threads of a warp group
// have them: thread t's vectors of 4, i of 8, at 4 (128 i + t). They are of channels 8 i + 2 (t % 4) and the
// next, two of query t / 32 * 16 + t % 32 / 4 of the tile and two of the 8th after it.
#include "ops/cuda/attention_wgmma.cuh"

namespace orrery::kernels::cuda {

constexpr int kQueries = kTiledQueries, kMultiplying = 2;  // of a tile; groups
constexpr uint32_t kSumFloats = kQueries * kHead / kMultiplying, kSumBytes = 4 * kSumFloats;  // of a group

inline int64_t tiles_of(const TiledAttentionBackward& a) {
  return (a.queries + kQueries - 1) / kQueries;
}
inline dim3 grid_of(const TiledAttentionBackward& a, int64_t blocks) {
  return {static_cast<unsigned>(blocks), static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch)};
}

// dots, and lse in powers of 2, to a.rows: (2, batch, heads, tiles, kQueries), lse first; after the last
// query what makes p = 0. Clears sums and turns.
void prepare_rows(const TiledAttentionBackward& a, Type type, cudaStream_t stream);
// dq from its sums.
void round_sums(const TiledAttentionBackward& a, Type type, cudaStream_t stream);

}  // namespace orrery::kernels::cuda
