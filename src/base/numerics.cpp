#include "base/numerics.h"

#include <ATen/Context.h>

#include <cstdlib>

#include "base/error.h"

namespace orrery {

void forbid_reduced_precision() {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(false);  // the default, unless TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is set
  context.setAllowTF32CuDNN(false);   // the default is true
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
}

void set_deterministic(bool on) {
  // cuBLAS gives the same bits every time only with workspaces of fixed size, and ATen insists on this
  // variable.
  if (on) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false);
  // By default ATen then fills all new memory, at the cost of a pass over it; we read none before writing it.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

void choose_kernels(const NumericsConfig& c) {
  require(!c.tune || !c.deterministic,
          "numerics.tune=true with numerics.deterministic=true, wanted one of them: a choice by time differs "
          "from run to run");
  set_deterministic(c.deterministic);
  at::globalContext().setBenchmarkCuDNN(c.tune);
}

}  // namespace orrery
