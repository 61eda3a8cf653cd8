// rms_norm and rope of heads in one pass, each head written where its split has it (and read there in
// backward). A row is a head of a token, with lanes as in rms_norm, whose sums and roundings these are; the
// other half of a pair is L / 2 lanes away.
#include <cstring>

#include "ops/cuda/rms_norm.cuh"

namespace orrery::kernels::cuda {
namespace {

using namespace rms;

// Rows in order of tokens, then heads, and where the split has them: elements from the start.
struct Places {
  unsigned heads, positions, of_part, groups, receivers;
  int64_t tokens, width;
};
template <class Args>
Places places_of(const Args& a) {
  return {.heads = static_cast<unsigned>(a.heads),
          .positions = static_cast<unsigned>(a.positions),
          .of_part = static_cast<unsigned>(a.heads / (a.slots.receivers * a.slots.groups)),
          .groups = static_cast<unsigned>(a.slots.groups),
          .receivers = static_cast<unsigned>(a.slots.receivers),
          .tokens = a.tokens,
          .width = 2 * a.half};
}
struct Place {
  unsigned token, head, position;  // position: of the token in its batch entry
  __device__ Place(const Places& all, int64_t row)
      : token(static_cast<unsigned>(row) / all.heads),
        head(static_cast<unsigned>(row) % all.heads),
        position(token % all.positions) {}
  __device__ void advance(const Places& all, unsigned rows) {
    for (head += rows; head >= all.heads; head -= all.heads) {
      ++token;
      if (++position == all.positions) position = 0;
    }
  }
  __device__ int64_t in_split(const Places& all) const {
    const unsigned part = head / all.of_part, in_part = head - part * all.of_part;
    const unsigned slot = all.groups == 1 ? part : part % all.groups * all.receivers + part / all.groups;
    return ((slot * all.tokens + token) * all.of_part + in_part) * all.width;
  }
};

// The cosines of a lane's columns, and the sines with the sign that the other half of the pair has in them.
template <int N, int L>
struct Angles {
  float cos[N], sin[N];
  Angles() = default;
  __device__ Angles(const float* cosines, const float* sines, unsigned position, int lane, bool inverse) {
    constexpr int kAngles = N < 4 ? N : 4;
    const bool is_left = lane < L / 2;
    const int64_t begin = (int64_t{position} * (L / 2) + lane % (L / 2)) * N;
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
__device__ void turn(float (&x)[N], const Angles<N, L>& angles) {
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

// Each group of lanes takes K rows that follow each other: mostly heads of one token, with the same angles.
template <class T, int N, int L>
__global__ void __launch_bounds__(kThreads, 3) rms_norm_rope_rows(const RmsNormRope a, const Places places) {
  const Lane<N, 1, L> my;
  const int lane = static_cast<int>(my.lane);
  const int64_t count = a.tokens * a.heads, first = (int64_t{blockIdx.x} * my.kGroups + my.group) * K;
  Pack<T, N> packs[K] = {};
#pragma unroll
  for (int k = 0; k < K; ++k)
    if (first + k < count) packs[k] = load<T, N>(a.x, (first + k) * places.width + my.column(0));
  float weight[1][N];
  load_weight(weight, my, a.weight, a.weight_type, places.width);
  Place place(places, first);
  Angles<N, L> angles(a.cos, a.sin, place.position, lane, /*inverse=*/false);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float x[N], square = 0;
    packs[k].unpack(x);
#pragma unroll
    for (int i = 0; i < N; ++i) square += x[i] * x[i];
    const float rstd = 1.f / sqrtf(lane_sum<L>(square) / static_cast<float>(places.width) + a.eps);
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = __fmul_rn(__fmul_rn(x[i], rstd), weight[0][i]);
    turn<T>(x, angles);
    if (first + k < count) {
      if (lane == 0) a.rstd[first + k] = rstd;
      store<T>(a.y, place.in_split(places) + my.column(0), x);
    }
    if (k + 1 == K) break;
    place.advance(places, 1);
    if (place.head == 0) angles = {a.cos, a.sin, place.position, lane, /*inverse=*/false};
  }
}

// As rms_norm_backward_rows, of dout turned back.
template <class T, int N, int L>
__global__ void __launch_bounds__(kThreads, 3)
    rms_norm_rope_backward_rows(const RmsNormRopeBackward a, const Places places, int64_t rows_per_block) {
  constexpr int kRows = K / 2;
  const Lane<N, 1, L> my;
  const int lane = static_cast<int>(my.lane);
  float weight[1][N], dweight[1][N] = {};
  load_weight(weight, my, a.weight, a.weight_type, places.width);
  const int64_t begin = int64_t{blockIdx.x} * rows_per_block,
                end = min(begin + rows_per_block, a.tokens * a.heads);
  Place place(places, begin + my.group);
#pragma unroll 1
  for (int64_t start = begin; start < end; start += my.kGroups * kRows) {
    Pack<T, N> x[kRows] = {}, dout[kRows] = {};
    Angles<N, L> angles[kRows];
    float rstd[kRows] = {};
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int64_t row = start + k * my.kGroups + my.group;
      if (row < end) {
        x[k] = load<T, N>(a.x, row * places.width + my.column(0));
        dout[k] = load<T, N>(a.dout, place.in_split(places) + my.column(0));
        rstd[k] = a.rstd[row];
      }
      angles[k] = {a.cos, a.sin, place.position, lane, /*inverse=*/true};
      place.advance(places, my.kGroups);
    }
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int64_t row = start + k * my.kGroups + my.group;
      float norm[N], g[N], along = 0;
      x[k].unpack(norm);
      dout[k].unpack(g);
      turn<T>(g, angles[k]);
      round_to<T>(g);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        norm[i] *= rstd[k];
        dweight[0][i] += g[i] * norm[i];
        along += g[i] * weight[0][i] * norm[i];
      }
      along = lane_sum<L>(along) / static_cast<float>(places.width);
#pragma unroll
      for (int i = 0; i < N; ++i) g[i] = rstd[k] * (g[i] * weight[0][i] - norm[i] * along);
      if (row < end) store<T>(a.dx, row * places.width + my.column(0), g);
    }
  }
  store_sums(a.dweight, dweight, my, places.width);
}

// Calls run.template operator()<N, L>() for rows of `width`, which takes_width is true of.
template <class T, class Run>
void with_lanes(int64_t width, const Run& run) {
  constexpr int N = 16 / sizeof(T);
  if (width == 8 * N) return run.template operator()<N, 8>();
  if (width == 16 * N) return run.template operator()<N, 16>();
  return run.template operator()<N, 32>();
}

}  // namespace

void launch(const RmsNormRope& a, Type type, cudaStream_t stream) {
  with_type(type, [&]<class T>() {
    with_lanes<T>(2 * a.half, [&]<int N, int L>() {
      constexpr int64_t kRows = kThreads / L * K;
      const int64_t blocks = (a.tokens * a.heads + kRows - 1) / kRows;
      rms_norm_rope_rows<T, N, L><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(a, places_of(a));
    });
  });
}

void launch(const RmsNormRopeBackward& a, Type type, cudaStream_t stream) {
  const int64_t count = a.tokens * a.heads;
  with_type(type, [&]<class T>() {
    with_lanes<T>(2 * a.half, [&]<int N, int L>() {
      rms_norm_rope_backward_rows<T, N, L>
          <<<static_cast<unsigned>(norm_blocks(count)), kThreads, 0, stream>>>(a, places_of(a),
                                                                               rows_per_block(count));
    });
  });
}

}  // namespace orrery::kernels::cuda
