#pragma once
// TrainBench: the training step on made-up latents, timed and then looked into. Called by orrery bench train.
#include "base/config.h"
#include "base/metrics_log.h"
#include "bench/label_times.h"
#include "ops/product.h"
#include "parallel/mesh.h"

namespace orrery {

struct BenchOptions {
  int64_t warm_up = 3, steps = 10;
  int64_t profiled = 2;  // further steps, observed, for the table
  // memory.policy = auto: what blocks may keep for backward on this rank.
  int64_t activation_budget_bytes = 0;
};

struct TrainBench {
  Config config;
  MeshShape mesh;
  std::string recompute = {};        // memory.policy = auto: what blocks keep
  std::vector<double> step_ms = {};  // of each timed step, on the slowest rank
  double loss = 0;                   // of the last one
  std::vector<TimeRow> rows = {};    // of a profiled step, on the first rank
  double profiled_ms = 0;            // such a step by the host's clock
  Metrics memory = {};               // peaks of the timed steps on the fullest rank, as MemoryLog names them
  // On GPUs, MiB of the fullest rank: what the caching allocator held at most, and by how much that grew from
  // the first timed step to the last.
  double reserved_mib = 0, reserved_growth_mib = 0;
  kernels::cuda::Products products = {};  // with numerics.tune: those of the first rank

  double median_ms() const;
};

// The real step of the settings (train/step.h): forward, loss, backward, reduction, clip, update, averages.
// Each timed step begins when all ranks have come and their devices are idle, and ends when the device is
// idle again. Collective.
TrainBench bench_train(const Config& config, World& world, const BenchOptions& options);

// Model FLOPs of a step of all ranks, a multiply-add as two: 3 x blocks x ((12 + 4 mlp_ratio) d^2 + 4 S d +
// 4 N d) x S a clip, S tokens of the clip, N of text. No recompute is counted, nor embeddings, modulations,
// keys and values of the text, and the final layer.
double model_flops(const Config& config);
int64_t tokens_of_clip(const Config& config);

}  // namespace orrery
