#pragma once
// What kernels of attention on Hopper's tensor cores share (attention_wgmma.cu, attention_backward_wgmma.cu):
// tiles of tokens that the tensor memory accelerator brings, their descriptors for wgmma, products of 64 x
// 128 sums with the first operand in registers and of 64 x 64 with both in shared memory, and clusters of two
// blocks that fetch for each other. Device code for sm_90a.
//
// Of a head's 128 channels a copy brings 64, in rows of 128 bytes (a token each) in the 128-byte swizzle: the
// 16-byte vector c of row r lies at c ^ r % 8. A tile's second half of channels lies behind its first.
#include <cuda.h>
#include <cuda_fp16.h>

#include <optional>
#include <type_traits>

#include "ops/cuda/entry.h"
#include "ops/cuda/vector.cuh"
#include "ops/cuda/wgmma.cuh"

namespace orrery::kernels::cuda {

constexpr int kHead = kTiledHead, kBoxChannels = kHead / 2;  // channels; of one copy
constexpr int kGroup = 128;                                  // threads of a warp group
constexpr int kCluster = 2;                                  // blocks
constexpr uint32_t kRowBytes = kBoxChannels * 2;
constexpr uint32_t kSwizzledRows = 8, kSwizzleBytes = kSwizzledRows * kRowBytes;  // tiles are aligned to that
constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;

// Where a copy begins.
struct Corner {
  int channel, token, head, entry;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

inline __device__ uint32_t rank_in_cluster() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
inline __device__ void meet_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// After init_barrier and before meet_cluster.
inline __device__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// At the same barrier of the cluster's block `rank`. Without .release.cluster, which becomes a MEMBAR.GPU and
// cost the forward kernel a quarter of its rate: an arrival says that products have read a tile, and these
// are complete then; what threads read themselves, numbers of rows, only their own block's copies overwrite,
// and towards these it still releases.
inline __device__ void arrive_at(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// A box of the map: to this block, or to the same place of all blocks of the cluster, where it counts at the
// same barrier of each.
inline __device__ void copy_box(uint32_t to, const CUtensorMap& map, uint32_t barrier, const Corner& from) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(from.channel), "r"(from.token), "r"(from.head), "r"(from.entry)
      : "memory");
}
inline __device__ void copy_box_to_all(uint32_t to, const CUtensorMap& map, uint32_t barrier,
                                       const Corner& from) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(from.channel), "r"(from.token), "r"(from.head), "r"(from.entry),
      "h"(static_cast<uint16_t>((1 << kCluster) - 1))
      : "memory");
}

// Of a tile for wgmma. `half_bytes`: from 64 channels to the next 64, where channels are the product's
// columns and tokens what is summed over.
inline __device__ uint64_t descriptor(uint32_t address, uint32_t half_bytes = 16) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kNextRows = kSwizzleBytes >> 4;
  return uint64_t{(address >> 4) & 0x3fff} | uint64_t{half_bytes >> 4} << 16 | kNextRows << 32 | kSwizzle128;
}
// The same of a place `times` x `bytes` further on. An addition, where a descriptor made anew takes several
// instructions; the address is its lowest field and shared memory too small for a carry.
inline __device__ uint64_t moved(uint64_t descriptor, uint32_t bytes, uint32_t times = 1) {
  return descriptor + times * (bytes >> 4);
}

// A thread's sums as wgmma's text and as operands X(0), X(1) and so on, which a product adds to or writes,
// and its instruction for either half type T. Operands of the instruction follow the sums.
#define ORRERY_32_SUMS                                                                                   \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ORRERY_64_SUMS                                                                           \
  ORRERY_32_SUMS                                                                                 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ORRERY_8(X, i) X(i), X(i + 1), X(i + 2), X(i + 3), X(i + 4), X(i + 5), X(i + 6), X(i + 7)
#define ORRERY_32(X, i) ORRERY_8(X, i), ORRERY_8(X, i + 8), ORRERY_8(X, i + 16), ORRERY_8(X, i + 24)
#define ORRERY_ADDED(i) "+f"(d[i])
#define ORRERY_WRITTEN(i) "=f"(d[i])
#define ORRERY_TEXT(SHAPE, TYPE, ADDS, OPERANDS)                                                             \
  "{\n.reg .pred adds;\nsetp.ne.b32 adds, " ADDS ", 0;\nwgmma.mma_async.sync.aligned." SHAPE "k16.f32." TYPE \
  "." TYPE " {" OPERANDS ";\n}\n"
#define ORRERY_BY_TYPE(WGMMA, ADDS, OPERAND) \
  if constexpr (std::is_same_v<T, __half>)   \
    WGMMA("f16", ADDS, OPERAND);             \
  else                                       \
    WGMMA("bf16", ADDS, OPERAND)

#define ORRERY_WGMMA(TYPE, ADDS, OPERAND)                                                                \
  asm volatile(                                                                                          \
      ORRERY_TEXT("m64n128", TYPE, ADDS, ORRERY_64_SUMS "}, {%64, %65, %66, %67}, %68, adds, 1, 1, %69") \
      : ORRERY_32(OPERAND, 0), ORRERY_32(OPERAND, 32)                                                    \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kIsTransposed))

// Asynchronous, d (64 x 128) += a b: a (64,16) in registers; b (16,128) in shared memory, as 128 tokens of 16
// channels or, kIsTransposed, as 16 tokens of 128 channels. A thread's sums 4 i + {0, 1} and {2, 3} are of
// columns 8 i + 2 (lane % 4) and the next, in row lane / 4 of its warp's 16 and in the 8th after it.
template <class T, int kIsTransposed>
__device__ void multiply(float (&d)[64], const uint32_t* a, uint64_t b) {
  ORRERY_BY_TYPE(ORRERY_WGMMA, "1", ORRERY_ADDED);
}
// d = a b. Only a first product that does not name d as an input lets the compiler forget what d held.
template <class T, int kIsTransposed>
__device__ void multiply_fresh(float (&d)[64], const uint32_t* a, uint64_t b) {
  ORRERY_BY_TYPE(ORRERY_WGMMA, "0", ORRERY_WRITTEN);
}
#undef ORRERY_WGMMA

#define ORRERY_WGMMA(TYPE, ADDS, OPERAND)                                                            \
  asm volatile(ORRERY_TEXT("m64n64", TYPE, ADDS, ORRERY_32_SUMS "}, %32, %33, adds, 1, 1, %34, %34") \
               : ORRERY_32(OPERAND, 0)                                                               \
               : "l"(a), "l"(b), "n"(kIsTransposed))

// Asynchronous, d (64 x 64) += a b^T: a and b (64,16) in shared memory, as 64 tokens of 16 channels or,
// kIsTransposed, as 16 tokens of 64 channels. A thread's sums lie as those of multiply.
template <class T, int kIsTransposed>
__device__ void multiply_tiles(float (&d)[32], uint64_t a, uint64_t b) {
  ORRERY_BY_TYPE(ORRERY_WGMMA, "1", ORRERY_ADDED);
}
// d = a b^T
template <class T, int kIsTransposed>
__device__ void multiply_tiles_fresh(float (&d)[32], uint64_t a, uint64_t b) {
  ORRERY_BY_TYPE(ORRERY_WGMMA, "0", ORRERY_WRITTEN);
}
#undef ORRERY_WGMMA
#undef ORRERY_BY_TYPE
#undef ORRERY_TEXT
#undef ORRERY_WRITTEN
#undef ORRERY_ADDED
#undef ORRERY_32
#undef ORRERY_8
#undef ORRERY_64_SUMS
#undef ORRERY_32_SUMS

// After wait_for_products: what asynchronous products wrote is not read before this.
template <int kCount>
__device__ void take(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// volatile, so that a softmax stays between the waits for products that surround it: the compiler would move
// it behind the later one, and nothing would run beside the products.
inline __device__ float power_of_2(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Sums to words of two: a first operand of products over their columns.
template <class T, int kCount>
__device__ void pack(uint32_t (&words)[kCount / 2], const float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) words[i] = Pair<T>::word(d[2 * i], d[2 * i + 1]);
}

// A thread's sums of its first or second row (half 0, 1), times factor, to that row of kHead channels. By
// whole warps: four threads share a row.
template <class T>
__device__ void store_row(T* row, const float (&d)[64], int half, float factor, bool is_there) {
#pragma unroll
  for (int i = 0; i < kHead / 32; ++i) {
    uint32_t word[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int at = 4 * (4 * i + j) + 2 * half;
      word[j] = Pair<T>::word(d[at] * factor, d[at + 1] * factor);
    }
    transpose_words(word);
    if (is_there) store_words(row + 32 * i + threadIdx.x % 4 * 8, word);
  }
}

// A place in a ring of kCount tiles, and the parity of its barrier that says it is full.
template <int kCount>
struct Stage {
  uint32_t at = 0, phase = 0;
  __device__ void next() {
    if (++at == kCount) at = 0, phase ^= 1;
  }
};

#endif

// Of tensors of a half type with as many heads and entries, in boxes of 64 channels of `box_tokens`.
struct TensorMaps {
  int64_t heads, batch;
  Type type;
  int box_tokens;

  // x (channel, token, head, entry); tokens after the last are zeros. None where the driver refuses.
  std::optional<CUtensorMap> of(const AttentionInput& x, int64_t tokens) const {
    static const auto encode = [] {
      void* function = nullptr;
      cudaDriverEntryPointQueryResult found{};
      const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                                 cudaEnableDefault, &found);
      if (error != cudaSuccess) cudaGetLastError();  // nobody shall take it for a launch's
      return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(
          error == cudaSuccess && found == cudaDriverEntryPointSuccess ? function : nullptr);
    }();
    if (!encode) return {};
    const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
    const cuuint64_t sizes[] = {size(kHead), size(tokens), size(heads), size(batch)},
                     strides[] = {size(2 * x.token), size(2 * x.head), size(2 * x.entry)};  // bytes
    const cuuint32_t box[] = {kBoxChannels, static_cast<cuuint32_t>(box_tokens), 1, 1},
                     steps[] = {1, 1, 1, 1};
    const auto element =
        type == Type::float16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    CUtensorMap map;
    const CUresult result = encode(&map, element, 4, const_cast<void*>(x.data), sizes, strides, box, steps,
                                   CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? std::optional(map) : std::nullopt;
  }
};

// Blocks of `threads` in clusters along x, of which grid.x is a multiple. Errors are the launch's.
template <class... Args>
void launch_clusters(void (*kernel)(Args...), unsigned blocks, dim3 grid, int threads, uint32_t shared_bytes,
                     cudaStream_t stream, const Args&... args) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {blocks, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  cudaLaunchKernelEx(&config, kernel, args...);
}

}  // namespace orrery::kernels::cuda
