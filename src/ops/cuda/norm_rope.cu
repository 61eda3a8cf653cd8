// rms_norm and rope of heads in one pass, each head written where its split has it (and read there in
// backward). Lanes, sums and roundings are those of rms_norm; the other half of a pair is L / 2 lanes away.
// On an H200 instructions bind them as much as memory does (docs/performance.md).
#include <cstring>

#include "ops/cuda/rms_norm.cuh"

namespace orrery::kernels::cuda {
namespace {

using namespace rms;

// L lanes take a unit at a time: up to K heads of one token, which share their angles.
struct Units {
  unsigned heads, of_token, positions, tokens;  // of_token: units
  unsigned of_part, part_of_head, groups, receivers, width;
  __device__ unsigned count() const { return tokens * of_token; }
};
template <class Args>
Units units_of(const Args& a) {
  const auto of_part = static_cast<unsigned>(a.heads / (a.slots.receivers * a.slots.groups));
  return {.heads = static_cast<unsigned>(a.heads),
          .of_token = static_cast<unsigned>(a.heads + K - 1) / K,
          .positions = static_cast<unsigned>(a.positions),
          .tokens = static_cast<unsigned>(a.tokens),
          .of_part = of_part,
          .part_of_head = 65536 / of_part + 1,  // a quotient by product and shift: heads^2 < 65536
          .groups = static_cast<unsigned>(a.slots.groups),
          .receivers = static_cast<unsigned>(a.slots.receivers),
          .width = 2 * static_cast<unsigned>(a.half)};
}
struct Unit {
  unsigned token, head, position;  // the first head; position: of the token in its batch entry
  __device__ Unit(const Units& all, unsigned index)
      : token(index / all.of_token),
        head((index - token * all.of_token) * K),
        position(all.tokens == all.positions ? token : token % all.positions) {}
  // Elements from the start to head `head` + k, in order of tokens and as the split has it.
  __device__ int64_t row(const Units& all, unsigned k) const { return int64_t{token} * all.heads + head + k; }
  __device__ int64_t in_order(const Units& all, unsigned k) const { return row(all, k) * all.width; }
  __device__ int64_t in_split(const Units& all, unsigned k) const {
    const unsigned part = (head + k) * all.part_of_head >> 16, in_part = head + k - part * all.of_part;
    const unsigned slot = all.groups == 1 ? part : part % all.groups * all.receivers + part / all.groups;
    return ((int64_t{slot} * all.tokens + token) * all.of_part + in_part) * all.width;
  }
};

// The cosines of a lane's columns, and the sines with the sign that the other half of the pair has in them.
template <int N, int L>
struct Angles {
  float cos[N], sin[N];
  __device__ Angles(const float* cosines, const float* sines, unsigned position, unsigned lane,
                    bool inverse) {
    constexpr int kAngles = N < 4 ? N : 4;
    const bool is_left = lane < L / 2;
    const int64_t begin = int64_t{position} * (L / 2 * N) + lane % (L / 2) * N;
#pragma unroll
    for (int from = 0; from < N; from += kAngles) {
      const auto c = load<float, kAngles>(cosines, begin + from),
                 s = load<float, kAngles>(sines, begin + from);
#pragma unroll
      for (int i = 0; i < kAngles; ++i) {
        cos[from + i] = c.at[i];
        sin[from + i] = is_left == inverse ? s.at[i] : -s.at[i];
      }
    }
  }
};

// As rope: two products and their sum, rounded to float32 once each.
template <class T, int N, int L>
__device__ void turn_by(float (&x)[N], const Angles<N, L>& angles) {
  const Pack<T, N> mine = Pack<T, N>::of(x);
  Pack<T, N> other;
  static_assert(sizeof(mine) == 4 * sizeof(uint32_t));
  uint32_t words[4];
  memcpy(words, &mine, sizeof(words));
#pragma unroll
  for (uint32_t& word : words) word = __shfl_xor_sync(0xffffffffu, word, L / 2);
  memcpy(&other, words, sizeof(words));
  float own[N], across[N];
  mine.unpack(own);
  other.unpack(across);
#pragma unroll
  for (int i = 0; i < N; ++i)
    x[i] = __fadd_rn(__fmul_rn(own[i], angles.cos[i]), __fmul_rn(across[i], angles.sin[i]));
}

constexpr unsigned kUnitsPerGroup = 4;  // of a forward block

template <class T, int N, int L>
__global__ void __launch_bounds__(kThreads, 3) rms_norm_rope_units(const RmsNormRope a, const Units units) {
  const Lane<N, 1, L> my;
  const auto lane = static_cast<unsigned>(my.lane);
  float weight[1][N];
  load_weight(weight, my, a.weight, a.weight_type, units.width);
#pragma unroll 1
  for (unsigned turn = 0; turn < kUnitsPerGroup; ++turn) {
    const unsigned index =
        (blockIdx.x * kUnitsPerGroup + turn) * my.kGroups + static_cast<unsigned>(my.group);
    const bool is_there = index < units.count();
    const Unit unit(units, is_there ? index : 0);
    const unsigned heads = is_there ? units.heads - unit.head : 0;  // those from the first on
    Pack<T, N> packs[K] = {};
#pragma unroll
    for (unsigned k = 0; k < K; ++k)
      if (k < heads) packs[k] = load<T, N>(a.x, unit.in_order(units, k) + lane * N);
    const Angles<N, L> angles(a.cos, a.sin, unit.position, lane, /*inverse=*/false);
#pragma unroll
    for (unsigned k = 0; k < K; ++k) {
      float x[N], square = 0;
      packs[k].unpack(x);
#pragma unroll
      for (int i = 0; i < N; ++i) square += x[i] * x[i];
      const float rstd = rsqrtf(lane_sum<L>(square) * (1.f / (L * N)) + a.eps);
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = __fmul_rn(__fmul_rn(x[i], rstd), weight[0][i]);
      turn_by<T>(x, angles);
      if (k >= heads) continue;
      if (lane == 0) a.rstd[unit.row(units, k)] = rstd;
      store<T>(a.y, unit.in_split(units, k) + lane * N, x);
    }
  }
}

// As rms_norm_backward_rows, of dout turned back.
template <class T, int N, int L>
__global__ void __launch_bounds__(kThreads, 2)
    rms_norm_rope_backward_units(const RmsNormRopeBackward a, const Units units, unsigned units_per_block) {
  const Lane<N, 1, L> my;
  const auto lane = static_cast<unsigned>(my.lane);
  float weight[1][N], dweight[1][N] = {};
  load_weight(weight, my, a.weight, a.weight_type, units.width);
  const unsigned begin = blockIdx.x * units_per_block, end = min(begin + units_per_block, units.count());
#pragma unroll 1
  for (unsigned start = begin; start < end; start += my.kGroups) {
    const unsigned index = start + static_cast<unsigned>(my.group);
    const bool is_there = index < end;
    const Unit unit(units, is_there ? index : 0);
    const unsigned heads = is_there ? units.heads - unit.head : 0;
    Pack<T, N> x[K] = {}, dout[K] = {};
    float rstd[K] = {};
#pragma unroll
    for (unsigned k = 0; k < K; ++k) {
      if (k >= heads) continue;
      x[k] = load<T, N>(a.x, unit.in_order(units, k) + lane * N);
      dout[k] = load<T, N>(a.dout, unit.in_split(units, k) + lane * N);
      rstd[k] = a.rstd[unit.row(units, k)];
    }
    const Angles<N, L> angles(a.cos, a.sin, unit.position, lane, /*inverse=*/true);
#pragma unroll
    for (unsigned k = 0; k < K; ++k) {
      float norm[N], g[N], along = 0;
      x[k].unpack(norm);
      dout[k].unpack(g);
      turn_by<T>(g, angles);
      round_to<T>(g);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        norm[i] *= rstd[k];
        dweight[0][i] += g[i] * norm[i];
        g[i] *= weight[0][i];
        along += g[i] * norm[i];
      }
      along = lane_sum<L>(along) * (1.f / (L * N));
#pragma unroll
      for (int i = 0; i < N; ++i) g[i] = rstd[k] * (g[i] - norm[i] * along);
      if (k < heads) store<T>(a.dx, unit.in_order(units, k) + lane * N, g);
    }
  }
  store_sums(a.dweight, dweight, my, units.width);
}

// Calls run.template operator()<N, L>() for heads of `width`, of 128, 256 or 512 bytes.
template <class T, class Run>
void with_lanes(int64_t width, const Run& run) {
  constexpr int N = 16 / sizeof(T);
  if (width == 8 * N) return run.template operator()<N, 8>();
  if (width == 16 * N) return run.template operator()<N, 16>();
  return run.template operator()<N, 32>();
}

}  // namespace

void launch(const RmsNormRope& a, Type type, cudaStream_t stream) {
  const Units units = units_of(a);
  with_type(type, [&]<class T>() {
    with_lanes<T>(2 * a.half, [&]<int N, int L>() {
      constexpr unsigned kPerBlock = kThreads / L * kUnitsPerGroup;
      const unsigned blocks = (units.tokens * units.of_token + kPerBlock - 1) / kPerBlock;
      rms_norm_rope_units<T, N, L><<<blocks, kThreads, 0, stream>>>(a, units);
    });
  });
}

void launch(const RmsNormRopeBackward& a, Type type, cudaStream_t stream) {
  const Units units = units_of(a);
  const auto blocks = static_cast<unsigned>(norm_blocks(a.tokens * a.heads));
  const unsigned per_block = (units.tokens * units.of_token + blocks - 1) / blocks;
  with_type(type, [&]<class T>() {
    with_lanes<T>(2 * a.half, [&]<int N, int L>() {
      rms_norm_rope_backward_units<T, N, L><<<blocks, kThreads, 0, stream>>>(a, units, per_block);
    });
  });
}

}  // namespace orrery::kernels::cuda
