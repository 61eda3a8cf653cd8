#pragma once
// OpBench: each operation of the network by itself, forward and backward, at the sizes that it has in a step,
// against its floor on this device: its FLOPs at the rate of a large product of matrices, or its bytes at the
// rate of a large copy, whichever takes longer. Both rates are measured beside it. Called by orrery bench
// ops.
#include <string>
#include <vector>

#include "base/config.h"

namespace orrery {

struct OpBenchOptions {
  std::string filter;  // operations whose name contains it; empty: all
  int64_t repeats = 20;
};

struct OpFigure {
  std::string name, phase;
  double ms = 0;                // a call
  double flops = 0, bytes = 0;  // a call; OpWork
  double floor_ms = 0;
  std::string failure = {};  // why there are no figures: memory
};

struct OpBench {
  int64_t matmul_size = 0;  // of the square matrices
  double matmul_tflops = 0;
  double copy_gb_per_s = 0;  // read and written
  std::vector<OpFigure> figures;
};

// Sizes: a rank's share of train.batch clips under parallel.context; one process measures them all.
OpBench bench_ops(const Config& config, const OpBenchOptions& options);

}  // namespace orrery
