// Convolutions of 3x3 pixels, and any number of frames, as products of matrices on Hopper's tensor cores
// (wgmma), in channels-last order with float32 sums. A block of threads makes a tile of 6 rows x 64 columns
// of a frame, and all or 96 of its outputs. Each stage of its pipeline holds 16 input channels of the 8 x 66
// pixels that the nine taps of a frame read, fetched once for all of them, and the taps' weights. In shared
// memory a pixel is a row of 16 bytes (8 channels) in one of two slabs: without swizzle, so that another tap
// is another first row. One warp group fetches, two multiply: three rows of the tile each.
#include <type_traits>

#include "ops/cuda/vector.cuh"
#include "ops/cuda/wgmma.cuh"

namespace orrery::kernels::cuda {
namespace {

constexpr int kRows = kConvRows, kColumns = kConvColumns, kTaps = 9;
constexpr int kPatchColumns = kColumns + 2, kPixels = (kRows + 2) * kPatchColumns;
constexpr int kVector = 8, kSlabs = kConvChannels / kVector;  // channels of 16 bytes
constexpr int kGroup = 128, kGroups = 3;                      // threads; the first group fetches
constexpr int kGroupRows = kRows / 2;
constexpr int kLoads = (kPixels * kSlabs + kGroup - 1) / kGroup;  // of a fetching thread, a stage
constexpr int kThreads = 256;                                     // of the kernel that packs weights
constexpr unsigned kSharedBytes = 232448;                         // that a block may have

// Of a stage: pixels after weights.
template <int N>
struct Stage {
  static constexpr uint32_t kTapBytes = N * kConvChannels * 2, kWeightBytes = kTaps * kTapBytes;
  static constexpr uint32_t kSlabBytes = (kPixels | 1) * 16;  // odd rows: slabs begin in different banks
  static constexpr uint32_t kBytes = (kWeightBytes + kSlabs * kSlabBytes + 127) / 128 * 128;
  static constexpr int kFit = (kSharedBytes - 256) / kBytes, kCount = kFit < 8 ? kFit : 8;
  static constexpr uint32_t kAllBytes = kCount * kBytes + 16 * kCount;  // and two barriers each
};

// Sizes as the kernel counts them.
struct Sizes {
  int frames, taps, height, width, channels, outputs;  // of the result; taps: of time
  int x_height, x_width, above, left, tiles;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Zeros where not valid.
__device__ void copy_pixel(uint32_t to, const void* from, bool is_valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_valid ? 16 : 0)
               : "memory");
}
template <int kPending>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Of a matrix that lies in rows of 16 bytes, 8 rows together, and the next 8 of its depth a slab further.
__device__ uint64_t descriptor(uint32_t address, uint32_t slab_bytes) {
  constexpr uint64_t kEightRows = 128 >> 4;
  return uint64_t{(address >> 4) & 0x3fff} | (uint64_t{(slab_bytes >> 4) & 0x3fff} << 16) |
         (kEightRows << 32);
}

// d (64 x N) = a b^T, or that added.
template <class T>
__device__ void multiply(float (&d)[4], uint64_t a, uint64_t b, int adds) {
#define ORRERY_WGMMA(TYPE)                                       \
  asm volatile(                                                  \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\n"                \
      "wgmma.mma_async.sync.aligned.m64n8k16.f32." TYPE "." TYPE \
      " {%0, %1, %2, %3}, %4, %5, p, 1, 1, 0, 0;\n}\n"           \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])           \
      : "l"(a), "l"(b), "r"(adds))
  if constexpr (std::is_same_v<T, __half>)
    ORRERY_WGMMA("f16");
  else
    ORRERY_WGMMA("bf16");
#undef ORRERY_WGMMA
}
template <class T>
__device__ void multiply(float (&d)[48], uint64_t a, uint64_t b, int adds) {
#define ORRERY_WGMMA(TYPE)                                                                              \
  asm volatile(                                                                                         \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %50, 0;\n"                                                      \
      "wgmma.mma_async.sync.aligned.m64n96k16.f32." TYPE "." TYPE                                       \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "         \
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, "      \
      "%37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47}, %48, %49, p, 1, 1, 0, 0;\n}\n"           \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),        \
        "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),      \
        "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),      \
        "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),      \
        "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),      \
        "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])                                 \
      : "l"(a), "l"(b), "r"(adds))
  if constexpr (std::is_same_v<T, __half>)
    ORRERY_WGMMA("f16");
  else
    ORRERY_WGMMA("bf16");
#undef ORRERY_WGMMA
}

// Where tile `index` begins: blocks of outputs of the same pixels follow each other.
struct Tile {
  int block, column, row, frame;  // frame: of all batch entries
};
template <int N>
__device__ Tile tile_of(const Sizes& s, int index) {
  const int blocks = s.outputs / N, columns = (s.width + kColumns - 1) / kColumns,
            rows = (s.height + kRows - 1) / kRows;
  const int place = index / blocks, line = place / columns;
  return {index % blocks, place % columns * kColumns, line % rows * kRows, line / rows};
}

// The barriers of stage i: it is full; it may be filled again.
template <int N>
struct Pipeline {
  uint32_t stages;
  __device__ uint32_t stage(int i) const { return stages + i * Stage<N>::kBytes; }
  __device__ uint32_t full(int i) const { return stages + Stage<N>::kCount * Stage<N>::kBytes + 8 * i; }
  __device__ uint32_t empty(int i) const { return full(Stage<N>::kCount + i); }
};

// Which pixels a fetching thread brings, as elements of a frame of x and a bit each where they lie in it.
struct Patch {
  int offset[kLoads];
  uint32_t valid = 0;

  __device__ Patch(const Sizes& s, const Tile& tile) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int load = threadIdx.x + i * kGroup, pixel = load / kSlabs, slab = load % kSlabs;
      const int row = tile.row + pixel / kPatchColumns - s.above,
                column = tile.column + pixel % kPatchColumns - s.left;
      const bool inside =
          pixel < kPixels && row >= 0 && row < s.x_height && column >= 0 && column < s.x_width;
      offset[i] = inside ? (row * s.x_width + column) * s.channels + slab * kVector : 0;
      valid |= uint32_t{inside} << i;
    }
  }
};

template <class T, int N>
__device__ void fetch(const TiledConv& a, const Sizes& s, const Pipeline<N>& pipe) {
  using S = Stage<N>;
  const int chunks = s.channels / kConvChannels;
  const int64_t frame_size = int64_t{s.x_height} * s.x_width * s.channels;
  int step = 0;
  for (int index = blockIdx.x; index < s.tiles; index += gridDim.x) {
    const Tile tile = tile_of<N>(s, index);
    const Patch patch(s, tile);
    const T* const x =
        static_cast<const T*>(a.x) + frame_size * (tile.frame + tile.frame / s.frames * (s.taps - 1));
    const T* weights =
        static_cast<const T*>(a.packed) + int64_t{tile.block} * s.taps * chunks * (S::kWeightBytes / 2);
    for (int part = 0; part < s.taps * chunks; ++part, ++step, weights += S::kWeightBytes / 2) {
      if (step >= 2) {  // what was asked for two steps ago has come
        wait_for_copies<1>();
        arrive(pipe.full((step - 2) % S::kCount));
      }
      const int at = step % S::kCount;
      if (step >= S::kCount) wait(pipe.empty(at), (step / S::kCount - 1) & 1);
      if (threadIdx.x == 0) {
        arrive_expecting(pipe.full(at), S::kWeightBytes);
        copy_bulk(pipe.stage(at), weights, S::kWeightBytes, pipe.full(at));
      }
      const T* const from = x + part / chunks * frame_size + part % chunks * kConvChannels;
      const uint32_t pixels = pipe.stage(at) + S::kWeightBytes;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int load = threadIdx.x + i * kGroup;
        if (load < kPixels * kSlabs)
          copy_pixel(pixels + load % kSlabs * S::kSlabBytes + load / kSlabs * 16, from + patch.offset[i],
                     patch.valid >> i & 1);
      }
      asm volatile("cp.async.commit_group;" ::: "memory");
    }
  }
  wait_for_copies<0>();
  for (int last = step < 2 ? 0 : step - 2; last < step; ++last) arrive(pipe.full(last % S::kCount));
}

// A row of the tile as a warp holds it when it writes: 16 pixels of N outputs. As wgmma leaves the sums, a
// thread has two pixels (`half`) and, of each 8 outputs, two neighbours. Of four such vectors of outputs it
// reads and writes one whole; of a single one, its word.
template <int N>
struct RowWords {
  static constexpr int kVectors = N / kVector, kTogether = kVectors % 4 == 0 ? 4 : 1,
                       kAccesses = kVectors / kTogether;
  uint32_t at[2][kAccesses][kTogether];
};

// Elements of y and residual where a thread's first access to its pixel `half` begins; -1 outside of the
// frame.
template <int N>
__device__ int64_t place_of(const Sizes& s, const Tile& tile, int row, int half) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int column = tile.column + warp * 16 + half * 8 + lane / 4;
  if (row >= s.height || column >= s.width) return -1;
  const int64_t pixel = (int64_t{tile.frame} * s.height + row) * s.width + column;
  return pixel * s.outputs + tile.block * N + lane % 4 * (RowWords<N>::kTogether * 2);
}

template <class T, int N>
__device__ void load_row(RowWords<N>& words, const T* from, const Sizes& s, const Tile& tile, int row) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t place = place_of<N>(s, tile, row, half);
#pragma unroll
    for (int i = 0; i < RowWords<N>::kAccesses; ++i) {
      auto& word = words.at[half][i];
      if constexpr (RowWords<N>::kTogether == 4) {
        uint4 vector{};
        if (from && place >= 0) vector = *reinterpret_cast<const uint4*>(from + place + i * 4 * kVector);
        word[0] = vector.x, word[1] = vector.y, word[2] = vector.z, word[3] = vector.w;
      } else {
        word[0] = from && place >= 0 ? *reinterpret_cast<const uint32_t*>(from + place) : 0;
      }
    }
  }
}

// Adds bias and residual, rounds and writes.
template <class T, int N>
__device__ void store_row(const TiledConv& a, const Sizes& s, const Tile& tile, int row,
                          const float (&sum)[N / 2], RowWords<N>& residual) {
  constexpr int kTogether = RowWords<N>::kTogether;
  const T* const bias = static_cast<const T*>(a.bias) + tile.block * N + threadIdx.x % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t place = place_of<N>(s, tile, row, half);
    T* const to = static_cast<T*>(a.y) + place;
#pragma unroll
    for (int i = 0; i < RowWords<N>::kAccesses; ++i) {
      auto& word = residual.at[half][i];
      if constexpr (kTogether == 4)
        if (a.residual) transpose_words(word);
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        const int vector = i * kTogether + j;
        float2 more{};
        if (a.bias) more = Pair<T>::values(*reinterpret_cast<const uint32_t*>(bias + vector * kVector));
        const float2 rest = Pair<T>::values(word[j]);
        word[j] = Pair<T>::word(sum[4 * vector + 2 * half] + more.x + rest.x,
                                sum[4 * vector + 2 * half + 1] + more.y + rest.y);
      }
      if constexpr (kTogether == 4) transpose_words(word);
      if (place < 0) continue;
      if constexpr (kTogether == 4)
        *reinterpret_cast<uint4*>(to + i * 4 * kVector) = make_uint4(word[0], word[1], word[2], word[3]);
      else
        *reinterpret_cast<uint32_t*>(to) = word[0];
    }
  }
}

template <class T, int N>
__device__ void multiply_tiles(const TiledConv& a, const Sizes& s, const Pipeline<N>& pipe) {
  using S = Stage<N>;
  const int group = threadIdx.x / kGroup - 1, lane = threadIdx.x % 32;
  const int parts = s.taps * (s.channels / kConvChannels);
  int step = 0;
  for (int index = blockIdx.x; index < s.tiles; index += gridDim.x) {
    float sum[kGroupRows][N / 2];
    for (int part = 0; part < parts; ++part, ++step) {
      const int at = step % S::kCount;
      wait(pipe.full(at), step / S::kCount & 1);
      const uint32_t weights = pipe.stage(at),
                     pixels = weights + S::kWeightBytes + group * (kGroupRows * kPatchColumns * 16);
      begin_products();
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap)
#pragma unroll
        for (int row = 0; row < kGroupRows; ++row)
          multiply<T>(sum[row],
                      descriptor(pixels + ((row + tap / 3) * kPatchColumns + tap % 3) * 16, S::kSlabBytes),
                      descriptor(weights + tap * S::kTapBytes, N * 16), part > 0 || tap > 0);
      commit_products();
      wait_for_products<1>();
      if (part > 0 && lane == 0) arrive(pipe.empty((step - 1) % S::kCount));
    }
    const Tile tile = tile_of<N>(s, index);
    const int first_row = tile.row + group * kGroupRows;
    const T* const residual = static_cast<const T*>(a.residual);
    RowWords<N> rest[2];  // of the row that is written, and of the next, under way
    load_row<T, N>(rest[0], residual, s, tile, first_row);
    wait_for_products<0>();
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row)
#pragma unroll
      for (int i = 0; i < N / 2; ++i) asm volatile("" : "+f"(sum[row][i])::"memory");  // not read earlier
    if (lane == 0) arrive(pipe.empty((step - 1) % S::kCount));
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row) {
      if (row + 1 < kGroupRows) load_row<T, N>(rest[(row + 1) % 2], residual, s, tile, first_row + row + 1);
      store_row<T, N>(a, s, tile, first_row + row, sum[row], rest[row % 2]);
    }
  }
}

#endif

template <class T, int N>
__global__ void __launch_bounds__(kGroups* kGroup, 1)
    conv_tiles(const __grid_constant__ TiledConv a, const __grid_constant__ Sizes s) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  const Pipeline<N> pipe{shared_address(memory)};
  if (threadIdx.x == 0) {
    for (int i = 0; i < Stage<N>::kCount; ++i) {
      init_barrier(pipe.full(i), kGroup + 1);
      init_barrier(pipe.empty(i), (kGroups - 1) * kGroup / 32);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x < kGroup) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    fetch<T, N>(a, s, pipe);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    multiply_tiles<T, N>(a, s, pipe);
  }
#endif
}

// (outputs, taps, 3, 3, channels) to the order of the stages: block of N outputs, tap of time, 16 channels;
// then tap, slab, output, 8 channels.
template <int N>
__global__ void pack_weights(const uint16_t* weight, uint16_t* packed, Sizes s) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= int64_t{s.outputs} * s.taps * kTaps * s.channels) return;
  int64_t rest = at;
  const auto next = [&rest](int64_t size) {
    const int64_t digit = rest % size;
    rest /= size;
    return digit;
  };
  const int64_t lane = next(kVector), output = next(N), slab = next(kSlabs), tap = next(kTaps),
                chunk = next(s.channels / kConvChannels), time = next(s.taps);
  const int64_t channel = (chunk * kSlabs + slab) * kVector + lane;
  packed[at] = weight[(((rest * N + output) * s.taps + time) * kTaps + tap) * s.channels + channel];
}

template <class T, int N>
void launch_tiles(const TiledConv& a, cudaStream_t stream) {
  const auto whole = [](int64_t n) { return static_cast<int>(n); };
  Sizes s{.frames = whole(a.frames),
          .taps = whole(a.taps),
          .height = whole(a.height),
          .width = whole(a.width),
          .channels = whole(a.channels),
          .outputs = whole(a.outputs),
          .x_height = whole(a.x_height),
          .x_width = whole(a.x_width),
          .above = whole(a.above),
          .left = whole(a.left),
          .tiles = 0};
  s.tiles = s.outputs / N * ((s.width + kColumns - 1) / kColumns) * ((s.height + kRows - 1) / kRows) *
            whole(a.batch * a.frames);
  const int64_t weights = a.outputs * a.taps * kTaps * a.channels;
  pack_weights<N><<<static_cast<unsigned>((weights + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      static_cast<const uint16_t*>(a.weight), static_cast<uint16_t*>(a.packed), s);
  int device = 0, processors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  cudaFuncSetAttribute(conv_tiles<T, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, Stage<N>::kAllBytes);
  const int blocks = s.tiles < processors ? s.tiles : processors;
  conv_tiles<T, N><<<blocks, kGroups * kGroup, Stage<N>::kAllBytes, stream>>>(a, s);
}

}  // namespace

void launch(const TiledConv& a, Type type, cudaStream_t stream) {
  const bool is_wide = a.outputs % kConvOutputs == 0;
  if (type == Type::float16)
    is_wide ? launch_tiles<__half, kConvOutputs>(a, stream)
            : launch_tiles<__half, kFewConvOutputs>(a, stream);
  else
    is_wide ? launch_tiles<__nv_bfloat16, kConvOutputs>(a, stream)
            : launch_tiles<__nv_bfloat16, kFewConvOutputs>(a, stream);
}

}  // namespace orrery::kernels::cuda
