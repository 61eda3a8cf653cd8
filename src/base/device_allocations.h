#pragma once
// Where the memory of CUDA tensors comes and goes, for MemoryMeter. ATen asks CUDA's caching allocator
// itself, so that nothing can stand in front of it as on the CPU; but it tells what it does.
#include <cstdint>

namespace orrery {

// Called on the thread that allocates or frees, under the allocator's lock: they must not allocate on a
// device.
struct AllocationEvents {
  void (*allocated)(const void* address, int64_t bytes) noexcept;
  void (*freed)(const void* address) noexcept;
};

// From now on, for good. False where there is no CUDA device, or its allocator does not tell: another one was
// chosen with PYTORCH_CUDA_ALLOC_CONF=backend:cudaMallocAsync.
bool follow_cuda_allocations(const AllocationEvents& events);

}  // namespace orrery
