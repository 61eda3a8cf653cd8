// Attention's backward pass for heads of 128 channels on Hopper's tensor cores (wgmma), after
// FlashAttention-3 (Shah et al. 2024, arXiv:2407.08608, section 3.1 and algorithm 3): with p = exp(scale q
// k^T - lse) and dots = sum(dout out) over channels, dp = dout v^T, ds = p (dp - dots), and
//   dv = p^T dout, dk = scale ds^T q, dq = scale ds k.
// A block of threads has 128 keys of a head and walks over the queries in tiles of 64. Two warp groups
// multiply, 64 keys each: scores and dp stand in registers as (keys, queries), so that p^T and ds^T are first
// operands as they are. For dq, which needs all keys, both groups lay ds down in shared memory, and each
// makes 64 channels of it. A third group fetches, and adds dq, tile by tile, to float32 sums in global
// memory, where all blocks of the head meet; a kernel before clears these and makes dots, one after rounds
// them (attention_backward_rows.cu).
//
// In whatever order they come, or each tile's in the order of the keys: then a run repeats its bits. In the
// first case two blocks of a cluster with neighbouring keys fetch each one half of a tile of queries for
// both; in order, they would wait for each other.
// A block in order waits for those of fewer keys: they have begun before it, as devices deal out the
// blocks of a grid in the order of their numbers, though it is nowhere promised.
//
// p and ds are rounded to the half type for their products, ds before it is scaled; all sums are float32 and
// round once.
#include "ops/cuda/attention_backward.cuh"
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kKeys = 128;  // of a block
constexpr int kGroups = kMultiplying + 1;
[[maybe_unused]] constexpr int kGroupKeys = kKeys / kMultiplying;
constexpr int kStages = 2;  // tiles of queries, and of dout, at a time; of ds; of dq
constexpr uint32_t kKeyHalf = kKeys * kRowBytes, kKeyTile = 2 * kKeyHalf;           // of keys or values
constexpr uint32_t kHalfBytes = kQueries * kRowBytes, kTileBytes = 2 * kHalfBytes;  // of queries or dout
constexpr uint32_t kScoreBytes = kKeys * kQueries * 2;                              // of ds
constexpr uint32_t kNumberBytes = kQueries * 4;  // of a tile's lse, or dots
static_assert(kQueries * 2 == kRowBytes && kHead == kMultiplying * kBoxChannels);

// Blocks of a cluster, and tokens that each of them copies of a tile.
template <bool kIsOrdered>
constexpr int kBlocks = kIsOrdered ? 1 : kCluster;
template <bool kIsOrdered>
constexpr int kBoxTokens = kQueries / kBlocks<kIsOrdered>;

// Shared memory, as bytes after its first aligned one.
[[maybe_unused]] constexpr uint32_t kValuesAt = kKeyTile;
constexpr uint32_t kQueriesAt = 2 * kKeyTile, kDoutAt = kQueriesAt + kStages * kTileBytes,
                   kScoresAt = kDoutAt + kStages * kTileBytes, kSumsAt = kScoresAt + kStages * kScoreBytes,
                   kLseAt = kSumsAt + kStages * kMultiplying * kSumBytes,
                   kDotsAt = kLseAt + kStages * kNumberBytes, kBarriersAt = kDotsAt + kStages * kNumberBytes,
                   kSharedBytes = kBarriersAt + 8 * (4 * kStages + 1) + kSwizzleBytes;

static_assert(kSharedBytes <= 232448);  // that a block may have

// The kernel's own view of a call.
struct Call {
  void *dk, *dv;
  const float *lse, *dots;  // (batch, heads, tiles, kQueries); lse in powers of 2
  float* sums;              // (batch, heads, tiles, groups, kSumFloats)
  int* turns;               // (batch, heads, tiles, groups): the block of keys that is next
  int heads, keys, tiles;
  float scale, score_scale;  // that times log2(e)
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Where stage i's tiles lie, and their barriers: they have come; they may be overwritten.
struct Shared {
  uint32_t base;
  __device__ uint32_t keys() const { return base; }
  __device__ uint32_t values() const { return base + kValuesAt; }
  __device__ uint32_t queries(int i) const { return base + kQueriesAt + i * kTileBytes; }
  __device__ uint32_t dout(int i) const { return base + kDoutAt + i * kTileBytes; }
  __device__ uint32_t scores(int i) const { return base + kScoresAt + i * kScoreBytes; }
  __device__ uint32_t sums(int i, int group) const {
    return base + kSumsAt + (i * kMultiplying + group) * kSumBytes;
  }
  __device__ uint32_t lse(int i) const { return base + kLseAt + i * kNumberBytes; }
  __device__ uint32_t dots(int i) const { return base + kDotsAt + i * kNumberBytes; }
  __device__ uint32_t barrier(int i) const { return base + kBarriersAt + 8 * i; }
  __device__ uint32_t keys_full() const { return barrier(0); }
  __device__ uint32_t queries_full(int i) const { return barrier(1 + i); }
  __device__ uint32_t dout_full(int i) const { return barrier(1 + kStages + i); }
  __device__ uint32_t queries_empty(int i) const { return barrier(1 + 2 * kStages + i); }
  __device__ uint32_t dout_empty(int i) const { return barrier(1 + 3 * kStages + i); }
};

// Barriers of threads: both groups have laid ds down; a group's tile of dq is there, or has been read, in
// either place.
constexpr int kScoresLaid = 1, kPairThreads = kMultiplying * kGroup, kSumThreads = kGroup + 32;
__device__ int sums_full(int i, int group) {
  return 2 + i * kMultiplying + group;
}
__device__ int sums_empty(int i, int group) {
  return 2 + (kStages + i) * kMultiplying + group;
}
template <int kThreads>
__device__ void meet(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ void come_by(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

// What threads wrote to shared memory is for asynchronous readers.
__device__ void hand_over() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// By one thread.
template <bool kIsOrdered>
__device__ void init_barriers(const Shared& shared) {
  constexpr int kReleases = kBlocks<kIsOrdered> * kMultiplying * kGroup / 32;  // a warp's each
  init_barrier(shared.keys_full(), 1);
  for (int i = 0; i < kStages; ++i) {
    for (const uint32_t full : {shared.queries_full(i), shared.dout_full(i)}) init_barrier(full, 1);
    for (const uint32_t empty : {shared.queries_empty(i), shared.dout_empty(i)})
      init_barrier(empty, kReleases);
  }
  publish_barriers();
}

// By one thread.
template <bool kIsOrdered>
__device__ void fetch(const Call& c, const Shared& shared, const CUtensorMap& q, const CUtensorMap& k,
                      const CUtensorMap& v, const CUtensorMap& dout) {
  constexpr int kTokens = kBoxTokens<kIsOrdered>;
  constexpr uint32_t kBoxBytes = kTokens * kRowBytes;
  const int head = blockIdx.y, entry = blockIdx.z;
  const int rank = kIsOrdered ? 0 : static_cast<int>(rank_in_cluster());
  arrive_expecting(shared.keys_full(), 2 * kKeyTile);
  for (int half = 0; half < 2; ++half)
    for (int box = 0; box < kKeys / kTokens; ++box) {
      const uint32_t at = half * kKeyHalf + box * kBoxBytes;
      const Corner from{half * kBoxChannels, static_cast<int>(blockIdx.x) * kKeys + box * kTokens, head,
                        entry};
      copy_box(shared.keys() + at, k, shared.keys_full(), from);
      copy_box(shared.values() + at, v, shared.keys_full(), from);
    }
  const int64_t rows = (int64_t{entry} * c.heads + head) * c.tiles * kQueries;
  Stage<kStages> stage;
  const auto fetch_tile = [&](int step, const CUtensorMap& map, uint32_t to, const float* row,
                              uint32_t row_to, uint32_t full, uint32_t empty) {
    if (step >= kStages) wait(empty, stage.phase ^ 1);
    arrive_expecting(full, kTileBytes + kNumberBytes);
    for (int half = 0; half < 2; ++half) {
      const uint32_t at = to + half * kHalfBytes + rank * kBoxBytes;
      const Corner from{half * kBoxChannels, step * kQueries + rank * kTokens, head, entry};
      kIsOrdered ? copy_box(at, map, full, from) : copy_box_to_all(at, map, full, from);
    }
    copy_bulk(row_to, row + rows + int64_t{step} * kQueries, kNumberBytes, full);
  };
  for (int step = 0; step < c.tiles; ++step, stage.next()) {
    const int at = stage.at;
    fetch_tile(step, q, shared.queries(at), c.lse, shared.lse(at), shared.queries_full(at),
               shared.queries_empty(at));
    fetch_tile(step, dout, shared.dout(at), c.dots, shared.dots(at), shared.dout_full(at),
               shared.dout_empty(at));
  }
}

__device__ void await_turn(const int* turn) {
  int now;
  do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(turn) : "memory");
  while (now != static_cast<int>(blockIdx.x));
}
// After what this thread's copies have added: that is in its place once they are complete, and the next
// block's copies, which depend on the turn, find it there. More fences (fence.proxy.async on both sides,
// fence.acq_rel) changed no bit and cost a tenth of the kernel's rate.
__device__ void pass_turn(int* turn) {
  asm volatile("cp.async.bulk.wait_group 0;\nred.release.gpu.global.add.s32 [%0], 1;" ::"l"(turn) : "memory");
}

// By a warp: adds a group's tiles of dq to the sums.
template <bool kIsOrdered>
__device__ void add_sums(const Call& c, const Shared& shared, int group) {
  const bool is_first = threadIdx.x % 32 == 0;
  const int64_t tiles = (int64_t{blockIdx.z} * c.heads + blockIdx.y) * c.tiles;
  for (int i = 0; i < kStages; ++i) come_by<kSumThreads>(sums_empty(i, group));
  for (int step = 0; step < c.tiles; ++step) {
    const int at = step % kStages;
    const int64_t place = (tiles + step) * kMultiplying + group;
    meet<kSumThreads>(sums_full(at, group));
    if (is_first) {
      if (kIsOrdered) await_turn(c.turns + place);
      asm volatile(
          "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;\n"
          "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::"l"(c.sums + place * kSumFloats),
          "r"(shared.sums(at, group)), "r"(kSumBytes)
          : "memory");
    }
    __syncwarp();
    come_by<kSumThreads>(sums_empty(at, group));
    if (kIsOrdered && is_first) pass_turn(c.turns + place);
    __syncwarp();
  }
  if (is_first) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// d = a b^T over all channels, begun: a 64 of a tile's kKeys, b kQueries.
template <class T>
__device__ void begin_scores(float (&d)[32], uint64_t a, uint64_t b) {
  multiply_tiles_fresh<T, 0>(d, a, b);
#pragma unroll
  for (int i = 1; i < kHead / 16; ++i)
    multiply_tiles<T, 0>(d, moved(a, i / 4 * kKeyHalf + i % 4 * 32),
                         moved(b, i / 4 * kHalfBytes + i % 4 * 32));
  commit_products();
}
// d += a b over a tile's queries, begun: a in registers.
template <class T>
__device__ void begin_key_sums(float (&d)[64], const uint32_t (&a)[16], uint64_t b) {
#pragma unroll
  for (int i = 0; i < kQueries / 16; ++i) multiply<T, 1>(d, a + 4 * i, moved(b, 16 * kRowBytes, i));
  commit_products();
}
// d = a^T b over all keys, begun: a ds, b 64 channels of the keys.
template <class T>
__device__ void begin_query_sums(float (&d)[32], uint64_t a, uint64_t b) {
  multiply_tiles_fresh<T, 1>(d, a, b);
#pragma unroll
  for (int i = 1; i < kKeys / 16; ++i)
    multiply_tiles<T, 1>(d, moved(a, 16 * kRowBytes, i), moved(b, 16 * kRowBytes, i));
  commit_products();
}

// A tile's lse or dots of a thread's columns 8 i + 2 (lane % 4) and the next.
__device__ float2 row_pair(uint32_t row, int i) {
  float2 pair;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
               : "=f"(pair.x), "=f"(pair.y)
               : "r"(row + 32 * i + threadIdx.x % 4 * 8)
               : "memory");
  return pair;
}

// Scores to p, of lse in powers of 2. A thread's two rows may be keys that do not exist.
__device__ void to_probabilities(float (&s)[32], const float2 (&lse)[8], float scale, bool is_whole,
                                 const bool (&is_there)[2]) {
  if (!is_whole) {
#pragma unroll
    for (int i = 0; i < 32; ++i)
      if (!is_there[i / 2 % 2]) s[i] = -INFINITY;
  }
#pragma unroll
  for (int i = 0; i < 32; ++i) s[i] = power_of_2(fmaf(s[i], scale, -(i % 2 ? lse[i / 4].y : lse[i / 4].x)));
}
// dp to ds.
__device__ void to_score_gradients(float (&dp)[32], const float (&p)[32], uint32_t dots_row) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 dots = row_pair(dots_row, i);
#pragma unroll
    for (int j = 4 * i; j < 4 * i + 4; ++j) dp[j] = p[j] * (dp[j] - (j % 2 ? dots.y : dots.x));
  }
}

// A warp's 16 keys of ds: rows of kQueries, swizzled.
__device__ void lay_down(uint32_t scores, int group, const uint32_t (&ds)[16]) {
  const int lane = threadIdx.x % 32;
  const int row = group * kGroupKeys + threadIdx.x / 32 % 4 * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     scores + row * kRowBytes + ((2 * i + lane / 16) ^ row % 8) * 16),
                 "r"(ds[4 * i]), "r"(ds[4 * i + 1]), "r"(ds[4 * i + 2]), "r"(ds[4 * i + 3])
                 : "memory");
}

// A group's tile of dq as it stands in registers: vectors of 4 sums, all threads' first ones first.
__device__ void lay_down(uint32_t sums, const float (&dq)[32]) {
#pragma unroll
  for (int i = 0; i < 8; ++i)
    asm volatile(
        "st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(sums + (i * kGroup + threadIdx.x % kGroup) * 16),
        "f"(dq[4 * i]), "f"(dq[4 * i + 1]), "f"(dq[4 * i + 2]), "f"(dq[4 * i + 3])
        : "memory");
}

// To the warp that adds them to global memory.
__device__ void give_sums(const Shared& shared, int at, int group, const float (&dq)[32]) {
  meet<kSumThreads>(sums_empty(at, group));
  lay_down(shared.sums(at, group), dq);
  hand_over();
  come_by<kSumThreads>(sums_full(at, group));
}

template <class T>
__device__ void write(const Call& c, void* to, const float (&d)[64], int first_key, float scale) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = first_key + warp * 16 + half * 8 + lane / 4;
    T* const row =
        static_cast<T*>(to) + ((blockIdx.z * int64_t{c.keys} + key) * c.heads + blockIdx.y) * kHead;
    store_row(row, d, half, scale, key < c.keys);
  }
}

// Descriptors of what a group's products read: `*_columns` where channels are the product's columns. Of the
// first of kStages places, where there are several.
struct Operands {
  uint64_t keys, values, key_columns, queries, query_columns, dout, dout_columns, score_columns;

  __device__ Operands(const Shared& shared, int group)
      : keys(descriptor(shared.keys() + group * kGroupKeys * kRowBytes)),
        values(descriptor(shared.values() + group * kGroupKeys * kRowBytes)),
        key_columns(descriptor(shared.keys() + group * kKeyHalf)),
        queries(descriptor(shared.queries(0))),
        query_columns(descriptor(shared.queries(0), kHalfBytes)),
        dout(descriptor(shared.dout(0))),
        dout_columns(descriptor(shared.dout(0), kHalfBytes)),
        score_columns(descriptor(shared.scores(0))) {}
};

// By a warp group that multiplies.
template <class T, bool kIsOrdered>
__device__ void differentiate(const Call& c, const Shared& shared) {
  const int group =
      __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / kGroup - 1, 0);  // the same in a warp
  const int lane = threadIdx.x % 32, first_key = static_cast<int>(blockIdx.x) * kKeys + group * kGroupKeys,
            first_row = first_key + static_cast<int>(threadIdx.x) / 32 % 4 * 16 + lane / 4;
  const bool is_whole = (static_cast<int>(blockIdx.x) + 1) * kKeys <= c.keys,
             is_there[2] = {first_row < c.keys, first_row + 8 < c.keys};
  const Operands tiles(shared, group);
  const auto release = [lane](uint32_t empty) {
    if constexpr (kIsOrdered) {
      if (lane == 0) arrive(empty);
    } else {
      if (lane < kCluster) arrive_at(empty, lane);
    }
  };
  float dk[64], dv[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) dk[i] = dv[i] = 0;

  wait(shared.keys_full(), 0);
  Stage<kStages> stage;
  for (int step = 0; step < c.tiles; ++step, stage.next()) {
    const int at = stage.at;
    float s[32], dp[32], dq[32];
    uint32_t p[16], ds[16];
    float2 lse[8];
    wait(shared.queries_full(at), stage.phase);
    begin_products();
    begin_scores<T>(s, tiles.keys, moved(tiles.queries, kTileBytes, at));
    wait(shared.dout_full(at), stage.phase);
    begin_scores<T>(dp, tiles.values, moved(tiles.dout, kTileBytes, at));
#pragma unroll
    for (int i = 0; i < 8; ++i) lse[i] = row_pair(shared.lse(at), i);
    wait_for_products<1>();
    take(s);
    to_probabilities(s, lse, c.score_scale, is_whole, is_there);
    pack<T>(p, s);
    wait_for_products<0>();
    take(dp);
    to_score_gradients(dp, s, shared.dots(at));
    pack<T>(ds, dp);

    const uint64_t q_columns = moved(tiles.query_columns, kTileBytes, at);
    begin_products();
    begin_key_sums<T>(dv, p, moved(tiles.dout_columns, kTileBytes, at));
    if (kIsOrdered) begin_key_sums<T>(dk, ds, q_columns);  // before dq, since its turn is waited for
    lay_down(shared.scores(step % kStages), group, ds);
    hand_over();
    meet<kPairThreads>(kScoresLaid);
    begin_products();
    begin_query_sums<T>(dq, moved(tiles.score_columns, kScoreBytes, step % kStages), tiles.key_columns);
    if (!kIsOrdered) begin_key_sums<T>(dk, ds, q_columns);  // beside the way of dq
    wait_for_products<2>();
    take(dv);
    release(shared.dout_empty(at));
    const auto end_dk = [&] {
      take(dk);
      release(shared.queries_empty(at));
    };
    wait_for_products<1>();
    if (kIsOrdered) {
      end_dk();
      wait_for_products<0>();
    }
    take(dq);
    give_sums(shared, step % kStages, group, dq);
    if (!kIsOrdered) {
      wait_for_products<0>();
      end_dk();
    }
  }
  write<T>(c, c.dv, dv, first_key, 1);
  write<T>(c, c.dk, dk, first_key, c.scale);
}

#endif

template <class T, bool kIsOrdered>
__global__ void __launch_bounds__(kGroups* kGroup, 1)
    differentiate_tiles(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                        const __grid_constant__ CUtensorMap v, const __grid_constant__ CUtensorMap dout,
                        const __grid_constant__ Call c) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  const Shared shared{(shared_address(memory) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) init_barriers<kIsOrdered>(shared);
  meet_cluster();
  if (threadIdx.x < kGroup) {  // registers go from the group that fetches to those that multiply
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) fetch<kIsOrdered>(c, shared, q, k, v, dout);
    if (warp > 0 && warp <= kMultiplying) add_sums<kIsOrdered>(c, shared, warp - 1);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    differentiate<T, kIsOrdered>(c, shared);
  }
  meet_cluster();  // nobody writes to a block that has ended
#endif
}

template <class T, bool kIsOrdered>
bool launch_tiles(const TiledAttentionBackward& a, Type type, cudaStream_t stream) {
  const TensorMaps maps{
      .heads = a.heads, .batch = a.batch, .type = type, .box_tokens = kBoxTokens<kIsOrdered>};
  const auto q = maps.of(a.q, a.queries), k = maps.of(a.k, a.keys), v = maps.of(a.v, a.keys),
             dout = maps.of(a.dout, a.queries);
  if (!q || !k || !v || !dout) return false;
  const int64_t tiles = tiles_of(a), numbers = a.batch * a.heads * tiles * kQueries;
  const Call call{.dk = a.dk,
                  .dv = a.dv,
                  .lse = a.rows,
                  .dots = a.rows + numbers,
                  .sums = a.sums,
                  .turns = a.turns,
                  .heads = static_cast<int>(a.heads),
                  .keys = static_cast<int>(a.keys),
                  .tiles = static_cast<int>(tiles),
                  .scale = static_cast<float>(a.scale),
                  .score_scale = static_cast<float>(a.scale * kLog2e)};
  constexpr int64_t kTogether = kBlocks<kIsOrdered>;
  const int64_t blocks = (a.keys + kKeys - 1) / kKeys;
  launch_clusters(differentiate_tiles<T, kIsOrdered>, kTogether,
                  grid_of(a, (blocks + kTogether - 1) / kTogether * kTogether), kGroups * kGroup,
                  kSharedBytes, stream, *q, *k, *v, *dout, call);
  return true;
}

}  // namespace

bool launch(const TiledAttentionBackward& a, Type type, cudaStream_t stream) {
  const auto run = type == Type::float16 ? a.turns ? launch_tiles<__half, true> : launch_tiles<__half, false>
                   : a.turns ? launch_tiles<__nv_bfloat16, true>
                                         : launch_tiles<__nv_bfloat16, false>;
  prepare_rows(a, type, stream);
  if (!run(a, type, stream)) return false;
  round_sums(a, type, stream);
  return true;
}

}  // namespace orrery::kernels::cuda
