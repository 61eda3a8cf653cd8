// Attention's forward pass for heads of 128 channels on Hopper's tensor cores (wgmma), after FlashAttention-3
// (Shah et al. 2024, arXiv:2407.08608, algorithm 2): a block of threads has 128 queries of a head and walks
// over the keys in tiles of 128, from the last, which may be filled in part, to the first. One warp group
// fetches, two multiply, 64 queries each, in their own time: while one of them is at its softmax, the
// products of the other run, and a group's own product of p and v runs beside the softmax of its next tile.
// Two blocks of a cluster have neighbouring queries, and each fetches one half of a tile for both. Grid:
// (blocks of queries, heads, entries of the batch).
//
// p is rounded to the half type for its product with v; all sums are float32, out rounds once.
#include "ops/cuda/attention_wgmma.cuh"
#include "ops/cuda/vector.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kKeys = 128, kBoxTokens = 64;  // of a tile; of one copy
constexpr int kGroups = 3, kMultiplying = kGroups - 1, kGroupQueries = 64;
constexpr int kQueries = kMultiplying * kGroupQueries;  // of a block
constexpr int kStages = 2;                              // tiles of keys, and of values, at a time
constexpr uint32_t kBoxBytes = kBoxTokens * kRowBytes, kGroupQueryBytes = 2 * kBoxBytes;
constexpr uint32_t kHalfBytes = kKeys * kRowBytes, kTileBytes = 2 * kHalfBytes;  // of keys or values
static_assert(kBoxTokens == kGroupQueries && kBoxTokens * kCluster == kKeys);

// Shared memory, as bytes after its first aligned one.
constexpr uint32_t kKeysAt = kMultiplying * kGroupQueryBytes, kValuesAt = kKeysAt + kStages * kTileBytes,
                   kBarriersAt = kValuesAt + kStages * kTileBytes,
                   kSharedBytes = kBarriersAt + 8 * (4 * kStages + 1) + kSwizzleBytes;

// The kernel's own view of a call. Scores count in powers of 2: scale is times log2(e).
struct Call {
  void* out;
  float* lse;
  int heads, queries, keys;
  float scale;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ int tiles_of(const Call& c) {
  return (c.keys + kKeys - 1) / kKeys;
}

// Where stage i's keys and values lie, and their barriers: they have come; they may be overwritten.
struct Shared {
  uint32_t base;
  __device__ uint32_t queries(int group) const { return base + group * kGroupQueryBytes; }
  __device__ uint32_t keys(int i) const { return base + kKeysAt + i * kTileBytes; }
  __device__ uint32_t values(int i) const { return base + kValuesAt + i * kTileBytes; }
  __device__ uint32_t barrier(int i) const { return base + kBarriersAt + 8 * i; }
  __device__ uint32_t queries_full() const { return barrier(0); }
  __device__ uint32_t keys_full(int i) const { return barrier(1 + i); }
  __device__ uint32_t values_full(int i) const { return barrier(1 + kStages + i); }
  __device__ uint32_t keys_empty(int i) const { return barrier(1 + 2 * kStages + i); }
  __device__ uint32_t values_empty(int i) const { return barrier(1 + 3 * kStages + i); }
};

// By one thread.
__device__ void init_barriers(const Shared& shared) {
  constexpr int kReleases = kCluster * kMultiplying * kGroup / 32;  // a warp's each
  init_barrier(shared.queries_full(), 1);
  for (int i = 0; i < kStages; ++i) {
    for (const uint32_t full : {shared.keys_full(i), shared.values_full(i)}) init_barrier(full, 1);
    for (const uint32_t empty : {shared.keys_empty(i), shared.values_empty(i)})
      init_barrier(empty, kReleases);
  }
  publish_barriers();
}

// By one thread.
__device__ void fetch(const Call& c, const Shared& shared, const CUtensorMap& q, const CUtensorMap& k,
                      const CUtensorMap& v) {
  const int head = blockIdx.y, entry = blockIdx.z, tiles = tiles_of(c);
  const uint32_t rank = rank_in_cluster();
  arrive_expecting(shared.queries_full(), kMultiplying * kGroupQueryBytes);
  for (int group = 0; group < kMultiplying; ++group)
    for (int half = 0; half < 2; ++half)
      copy_box(shared.queries(group) + half * kBoxBytes, q, shared.queries_full(),
               {half * kBoxChannels, static_cast<int>(blockIdx.x) * kQueries + group * kGroupQueries, head,
                entry});
  const auto fetch_tile = [&](int step, const CUtensorMap& map, uint32_t to, uint32_t full, uint32_t empty) {
    if (step >= kStages) wait(empty, (step / kStages - 1) & 1);
    arrive_expecting(full, kTileBytes);
    const int token = (tiles - 1 - step) * kKeys + static_cast<int>(rank) * kBoxTokens;
    for (int half = 0; half < 2; ++half)
      copy_box_to_all(to + half * kHalfBytes + rank * kBoxBytes, map, full,
                      {half * kBoxChannels, token, head, entry});
  };
  for (int step = 0; step <= tiles; ++step) {  // values are needed a softmax later than keys
    const int at = step % kStages, before = (step + kStages - 1) % kStages;
    if (step < tiles) fetch_tile(step, k, shared.keys(at), shared.keys_full(at), shared.keys_empty(at));
    if (step > 0)
      fetch_tile(step - 1, v, shared.values(before), shared.values_full(before), shared.values_empty(before));
  }
}

// A warp's 16 rows of a group's queries, at `from`, as wgmma wants its first operand: words 4 i to 4 i + 3
// for channels 16 i to 16 i + 15.
__device__ void load_queries(uint32_t (&q)[32], uint32_t from) {
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
  for (int i = 0; i < kHead / 16; ++i) {
    const int vector = i % 4 * 2 + lane / 16;
    const uint32_t at = from + i / 4 * kBoxBytes + row * kRowBytes + (vector ^ row % 8) * 16;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q[4 * i]), "=r"(q[4 * i + 1]), "=r"(q[4 * i + 2]), "=r"(q[4 * i + 3])
                 : "r"(at)
                 : "memory");
  }
}

// s = q k^T, begun.
template <class T>
__device__ void begin_scores(float (&s)[64], const uint32_t (&q)[32], uint64_t k) {
  multiply_fresh<T, 0>(s, q, k);
#pragma unroll
  for (int i = 1; i < kHead / 16; ++i)
    multiply<T, 0>(s, q + 4 * i, moved(k, i / 4 * kHalfBytes + i % 4 * 32));
  commit_products();
}
// o += p v, begun.
template <class T>
__device__ void begin_values(float (&o)[64], const uint32_t (&p)[32], uint64_t v) {
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) multiply<T, 1>(o, p + 4 * i, moved(v, 16 * kRowBytes, i));
  commit_products();
}

// Scores of keys from `keys` on, which do not exist.
__device__ void drop_after(float (&s)[64], int keys) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 64; ++i)
    if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= keys) s[i] = -INFINITY;
}

// Softmax of a thread's share of 64 queries, as its tiles come: two rows of two columns in eight.
struct Softmax {
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, factor[2];

  // Scores to p = exp(score - most). True: the maximum moved, and sums over p of before must be multiplied by
  // factor. A maximum may lag behind by kSlack powers of 2, which p and its sums bear well, until one of the
  // warp's rows is further behind: most tiles then need no factors.
  __device__ bool next(float (&s)[64], float scale) {
    constexpr float kSlack = 8;
    float top[2] = {s[0], s[2]};
#pragma unroll
    for (int i = 0; i < 64; ++i) top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
    bool moves = false;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      for (int lanes = 1; lanes <= 2; lanes *= 2)
        top[row] = fmaxf(top[row], __shfl_xor_sync(0xffffffff, top[row], lanes));
      moves |= (top[row] - most[row]) * scale > kSlack;
    }
    moves = __any_sync(0xffffffff, moves);
    if (moves) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float now = fmaxf(most[row], top[row]);
        factor[row] = power_of_2((most[row] - now) * scale);
        most[row] = now;
        sum[row] *= factor[row];
      }
    }
    float offset[2];  // no row subtracts infinity from infinity
#pragma unroll
    for (int row = 0; row < 2; ++row) offset[row] = most[row] == -INFINITY ? 0 : -most[row] * scale;
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      s[i] = power_of_2(fmaf(s[i], scale, offset[i / 2 % 2]));
      sum[i / 2 % 2] += s[i];
    }
    return moves;
  }
};

template <class T>
__device__ void write(const Call& c, const float (&o)[64], const Softmax& softmax) {
  const int group = threadIdx.x / kGroup - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = softmax.sum[half];
    for (int lanes = 1; lanes <= 2; lanes *= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
    const float share = 1 / sum;
    const int64_t query =
        int64_t{blockIdx.x} * kQueries + group * kGroupQueries + warp * 16 + half * 8 + lane / 4;
    const bool is_there = query < c.queries;
    if (is_there && lane % 4 == 0)
      c.lse[(int64_t{blockIdx.z} * c.heads + blockIdx.y) * c.queries + query] =
          (softmax.most[half] * c.scale + __log2f(sum)) * static_cast<float>(kLn2);
    T* const to =
        static_cast<T*>(c.out) + ((blockIdx.z * int64_t{c.queries} + query) * c.heads + blockIdx.y) * kHead;
    store_row(to, o, half, share, is_there);
  }
}

// By a warp group that multiplies.
template <class T>
__device__ void attend(const Call& c, const Shared& shared) {
  const int group = threadIdx.x / kGroup - 1, tiles = tiles_of(c);
  const uint64_t keys = descriptor(shared.keys(0)), values = descriptor(shared.values(0), kHalfBytes);
  const auto release = [](uint32_t empty) {
    if (const uint32_t rank = threadIdx.x % 32; rank < kCluster) arrive_at(empty, rank);
  };
  uint32_t q[32], p[32];
  float s[64], o[64];
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < 64; ++i) o[i] = 0;

  wait(shared.queries_full(), 0);
  load_queries(q, shared.queries(group));
  wait(shared.keys_full(0), 0);
  begin_products();
  begin_scores<T>(s, q, keys);
  wait_for_products<0>();
  take(s);
  release(shared.keys_empty(0));
  if (const int left = c.keys - (tiles - 1) * kKeys; left < kKeys) drop_after(s, left);
  softmax.next(s, c.scale);
  pack<T>(p, s);
  Stage<kStages> stage;
  for (int step = 1; step < tiles; ++step) {
    const Stage<kStages> before = stage;
    stage.next();
    wait(shared.keys_full(stage.at), stage.phase);
    begin_products();
    begin_scores<T>(s, q, moved(keys, kTileBytes, stage.at));
    wait(shared.values_full(before.at), before.phase);
    begin_values<T>(o, p, moved(values, kTileBytes, before.at));
    wait_for_products<1>();  // the scores
    take(s);
    release(shared.keys_empty(stage.at));
    const bool moves = softmax.next(s, c.scale);
    wait_for_products<0>();
    take(o);
    release(shared.values_empty(before.at));
    if (moves) {
#pragma unroll
      for (int i = 0; i < 64; ++i) o[i] *= softmax.factor[i / 2 % 2];
    }
    pack<T>(p, s);  // the products with the p of before have read it
  }
  wait(shared.values_full(stage.at), stage.phase);
  begin_products();
  begin_values<T>(o, p, moved(values, kTileBytes, stage.at));
  wait_for_products<0>();
  take(o);
  write<T>(c, o, softmax);
}

#endif

template <class T>
__global__ void __launch_bounds__(kGroups* kGroup, 1)
    attend_tiles(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                 const __grid_constant__ CUtensorMap v, const __grid_constant__ Call c) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  const Shared shared{(shared_address(memory) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) init_barriers(shared);
  meet_cluster();
  if (threadIdx.x < kGroup) {  // registers go from the group that fetches to those that multiply
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == 0) fetch(c, shared, q, k, v);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    attend<T>(c, shared);
  }
  meet_cluster();  // nobody writes to a block that has ended
#endif
}

template <class T>
bool launch_tiles(const TiledAttention& a, Type type, cudaStream_t stream) {
  const TensorMaps maps{.heads = a.heads, .batch = a.batch, .type = type, .box_tokens = kBoxTokens};
  const auto q = maps.of(a.q, a.queries), k = maps.of(a.k, a.keys), v = maps.of(a.v, a.keys);
  if (!q || !k || !v) return false;
  const Call call{.out = a.out,
                  .lse = a.lse,
                  .heads = static_cast<int>(a.heads),
                  .queries = static_cast<int>(a.queries),
                  .keys = static_cast<int>(a.keys),
                  .scale = static_cast<float>(a.scale * kLog2e)};
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
  const dim3 grid(static_cast<unsigned>((blocks + kCluster - 1) / kCluster * kCluster),
                  static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch));
  launch_clusters(attend_tiles<T>, kCluster, grid, kGroups * kGroup, kSharedBytes, stream, *q, *k, *v, call);
  return true;
}

}  // namespace

bool launch(const TiledAttention& a, Type type, cudaStream_t stream) {
  return type == Type::float16 ? launch_tiles<__half>(a, type, stream)
                               : launch_tiles<__nv_bfloat16>(a, type, stream);
}

}  // namespace orrery::kernels::cuda
