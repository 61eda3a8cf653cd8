// CPU builds link this in place of cuda/: CUDA tensors cannot exist there.
#include "parallel/kernels.h"

#include "base/error.h"

namespace orrery::kernels::cuda {
namespace {

[[noreturn]] void refuse() {
  fail("copies on a CUDA device, but this program was built without CUDA (preset cpu, wanted cuda)");
}

}  // namespace

void copy_each(const TensorPairs&) {
  refuse();
}
void add_each(const TensorPairs&) {
  refuse();
}

}  // namespace orrery::kernels::cuda
