// CPU builds link this in place of cuda/.
#include "base/device_allocations.h"

namespace orrery {

bool follow_cuda_allocations(const AllocationEvents&) {
  return false;
}

}  // namespace orrery
