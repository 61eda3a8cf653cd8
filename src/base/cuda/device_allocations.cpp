#include "base/device_allocations.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>

namespace orrery {

bool follow_cuda_allocations(const AllocationEvents& events) {
  if (!at::hasCUDA()) return false;
  at::globalContext().lazyInitDevice(at::kCUDA);  // trackers are kept by the devices
  using Entry = c10::cuda::CUDACachingAllocator::TraceEntry;
  const auto tell = [events](const Entry& entry) {
    const auto* const address = reinterpret_cast<const void*>(entry.addr_);
    if (entry.action_ == Entry::ALLOC)
      events.allocated(address, static_cast<int64_t>(entry.size_));
    else if (entry.action_ == Entry::FREE_REQUESTED)
      events.freed(address);
  };
  try {
    c10::cuda::CUDACachingAllocator::attachAllocatorTraceTracker(tell);
  } catch (const c10::Error&) {
    return false;
  }
  return true;
}

}  // namespace orrery
