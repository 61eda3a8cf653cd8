#pragma once
// Entry point of copy_each.cu, called by launch_copy.cpp: raw pointers and a stream, so that neither side
// needs the other's headers.
#include <cuda_runtime_api.h>

#include <cstdint>

namespace orrery::kernels::cuda {

enum class CopyType { float32, bfloat16, float16 };

// The pairs of one launch, each `rows` rows of `width` elements, a stride apart. It travels as the kernel's
// argument, at most 4 KiB, so no copy to the device is waited for. Block i works on chunk c = i -
// first_chunk[t] of pair t, the last one with first_chunk[t] <= i: kCopyChunk elements of row c /
// chunks_per_row[t].
constexpr int kCopyPairs = 64;
constexpr int64_t kCopyChunk = 8192;
struct CopyTable {
  void* to[kCopyPairs];
  const void* from[kCopyPairs];
  int64_t to_stride[kCopyPairs], from_stride[kCopyPairs], width[kCopyPairs];  // elements
  unsigned chunks_per_row[kCopyPairs];
  unsigned first_chunk[kCopyPairs + 1];
  bool aligned[kCopyPairs];  // every row begins at 16 bytes, on both sides
  int count;
};
static_assert(sizeof(CopyTable) <= 4096);

// adds: to += from, in float32; else to = from. Rounds to nearest even.
void launch(const CopyTable& table, CopyType to, CopyType from, bool adds, cudaStream_t stream);

}  // namespace orrery::kernels::cuda
