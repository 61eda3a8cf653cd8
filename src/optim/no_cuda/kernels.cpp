// CPU builds link this in place of cuda/: CUDA tensors cannot exist there.
#include "optim/kernels.h"
#include "base/error.h"

namespace orrery::kernels::cuda {

void adamw(const AdamWTensors&, const AdamWFactors&) {
  fail("adamw: weights on a CUDA device, but this program was built without CUDA (preset cpu, wanted cuda)");
}

bool takes_average(const at::Tensor&, const at::Tensor&) {
  return false;
}

void average(const std::vector<at::Tensor>&, const std::vector<at::Tensor>&, double) {
  fail(
      "averages: weights on a CUDA device, but this program was built without CUDA (preset cpu, wanted "
      "cuda)");
}

std::optional<at::Tensor> norms(const std::vector<at::Tensor>&) {
  fail(
      "norms: gradients on a CUDA device, but this program was built without CUDA (preset cpu, wanted cuda)");
}

}  // namespace orrery::kernels::cuda
