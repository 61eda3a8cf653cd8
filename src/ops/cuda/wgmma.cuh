#pragma once
// What the kernels for Hopper's tensor cores (wgmma) share: barriers in shared memory, groups of asynchronous
// products, and an exchange of words that makes 16-byte accesses of their results. Device code for sm_90a.
#include <cstdint>

namespace orrery::kernels::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

inline __device__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
inline __device__ void init_barrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
inline __device__ void arrive(uint32_t barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}
inline __device__ void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared.b64 state, [%0], %1;\n}" ::"r"(barrier),
               "r"(bytes)
               : "memory");
}
inline __device__ void wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
      "@done bra end;\nbra again;\nend:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Dense and in multiples of 16 bytes, to this block; counts at its barrier.
inline __device__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
inline __device__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
inline __device__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Lane q of four holds word q of four vectors; afterwards vector q, word by word. Its own inverse.
inline __device__ void transpose_words(uint32_t (&word)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
  const auto swap = [](uint32_t& mine, uint32_t& other, bool gives_mine, int lanes) {
    const uint32_t got = __shfl_xor_sync(0xffffffff, gives_mine ? mine : other, lanes);
    (gives_mine ? mine : other) = got;
  };
  swap(word[0], word[1], odd, 1);
  swap(word[2], word[3], odd, 1);
  swap(word[0], word[2], high, 2);
  swap(word[1], word[3], high, 2);
}
inline __device__ void store_words(void* to, const uint32_t (&word)[4]) {
  *static_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
}

#endif

}  // namespace orrery::kernels::cuda
