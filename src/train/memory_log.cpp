#include "train/memory_log.h"

#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cmath>

#include "base/error.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

constexpr double kMiB = 1 << 20;
constexpr size_t kUses = kNumMemoryUses - 1;  // without untracked
constexpr int64_t kFigures = kUses + 1;       // and the total

// "weights_mib", ..., "total_mib", behind a prefix.
Metrics named(const std::string& prefix, const double* mib) {
  Metrics out = {{prefix + "total_mib", mib[kUses]}};
  for (size_t i = 0; i < kUses; ++i)
    out.emplace_back(prefix + std::string(name_of(static_cast<MemoryUse>(i))) + "_mib", mib[i]);
  return out;
}

std::vector<double> in_mib(const MemoryUsage& usage) {
  std::vector<double> out;
  for (size_t i = 0; i < kUses; ++i) out.push_back(static_cast<double>(usage.bytes[i]) / kMiB);
  out.push_back(static_cast<double>(usage.total()) / kMiB);
  return out;
}

}  // namespace

MemoryLog::MemoryLog(const Config& config, World& world) : config_(config), world_(world) {
  try {
    meter_.emplace(device_of(config.numerics, world.local_rank()).type());
  } catch (const Error&) {
    if (config.numerics.device == Device::cpu) throw;
  }
}

void MemoryLog::begin(int64_t steps_done, const MemoryUsage& planned) {
  written_.assign(static_cast<size_t>(world_.size()), 0);
  if (!world_.is_first()) return;
  file_.emplace(std::filesystem::path(config_.train.run_dir) / "memory.jsonl", steps_done);
  if (planned.total() == 0) return;  // no plan for this device
  Metrics line = named("", in_mib(planned).data());
  line.insert(line.begin(), {"planned", 1});
  file_->write(steps_done, line);
}

std::vector<double> MemoryLog::mine() {
  std::vector<double> out = in_mib(meter_ ? meter_->peak() : MemoryUsage());
  if (meter_) meter_->reset_peak();
  const at::Device device = device_of(config_.numerics, world_.local_rank());
  auto* const allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (device.is_cpu() || !allocator) return out;
  // With what no tag names, such as the libraries' working memory.
  out.back() = static_cast<double>(allocator->getDeviceStats(device.index()).allocated_bytes[0].peak) / kMiB;
  allocator->resetPeakStats(device.index());
  return out;
}

void MemoryLog::write(int64_t step, int rank, const double* mib) {
  double& last = written_[static_cast<size_t>(rank)];
  if (std::abs(mib[kUses] - last) <= 0.01 * last) return;
  last = mib[kUses];
  Metrics line = named("", mib);
  line.insert(line.begin(), {"rank", rank});
  file_->write(step, line);
}

Metrics MemoryLog::exchange(int64_t step) {
  const std::vector<double> own = mine();
  const at::Tensor in = at::empty({kFigures}, at::kDouble),
                   all = at::empty({world_.size(), kFigures}, at::kDouble);
  std::copy(own.begin(), own.end(), in.mutable_data_ptr<double>());
  world_.comm().all_gather(all.view({-1}), in, "memory").wait();
  const double* const rows = all.const_data_ptr<double>();
  int fullest = 0;
  for (int r = 0; r < world_.size(); ++r) {
    if (file_) write(step, r, rows + r * kFigures);
    if (rows[r * kFigures + kFigures - 1] > rows[fullest * kFigures + kFigures - 1]) fullest = r;
  }
  Metrics out = named("memory.", rows + fullest * kFigures);
  out.insert(out.begin(), {"memory.rank", fullest});
  return out;
}

}  // namespace orrery
