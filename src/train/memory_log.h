#pragma once
// MemoryLog: what each rank's memory held when it was fullest, by use, so that a plan can be held against the
// truth. Made before the network; the trainer asks it at every logged step. On GPUs the total is that of
// LibTorch's allocator, and has what no use claims.
#include <optional>

#include "base/config.h"
#include "base/memory.h"
#include "base/metrics_log.h"
#include "parallel/world.h"

namespace orrery {

class MemoryLog {
 public:
  // run_dir/memory.jsonl, on the first rank: a line for the plan ("planned": 1), then one for each rank whose
  // peak moved by more than a hundredth since its last line. steps_done: as for MetricsLog.
  MemoryLog(const Config& config, World& world);
  void begin(int64_t steps_done, const MemoryUsage& planned);

  // Collective. The peaks since the last call; of the fullest rank: "memory.rank", "memory.total_mib",
  // "memory.weights_mib", ...
  Metrics exchange(int64_t step);

 private:
  std::vector<double> mine();  // MiB by use, the total last
  void write(int64_t step, int rank, const double* mib);

  const Config& config_;
  World& world_;
  std::optional<MemoryMeter> meter_;  // none on a GPU whose allocator does not tell
  std::optional<MetricsLog> file_;    // on the first rank
  std::vector<double> written_;       // total of each rank's last line
};

}  // namespace orrery
