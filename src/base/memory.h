#pragma once
// MemoryMeter: live and peak bytes of tensors by what they are for, counted in ATen's allocators. Training
// logs them, plans predict them (the same program on meta tensors, which have sizes but no memory), and tests
// hold one against the other. A meter sees the allocations of the thread that made it, until it is destroyed;
// what was allocated before is unknown to it. Frees count from any thread.
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace orrery {

enum class MemoryUse {
  weights,        // this rank's shards (all of the weights where they are not split)
  gathered,       // whole weights of the units at work
  gradients,      // of the weights
  optimizer,      // masters and moments
  averages,       // averaged weights
  activations,    // kept between forward and backward, and being computed
  encoders,       // weights of the tokenizer and of the text encoder
  communication,  // staging buffers
  workspace,      // temporaries of encoding, backward and update
  untracked       // allocated without a tag; not in the totals
};
inline constexpr size_t kNumMemoryUses = 10;
std::string_view name_of(MemoryUse use);

struct MemoryUsage {
  std::array<int64_t, kNumMemoryUses> bytes{};
  int64_t operator[](MemoryUse use) const { return bytes[static_cast<size_t>(use)]; }
  int64_t& operator[](MemoryUse use) { return bytes[static_cast<size_t>(use)]; }
  int64_t total() const;  // without untracked
};

// RAII: what this thread allocates while it lives is for this use. The innermost tag counts.
class MemoryTag {
 public:
  explicit MemoryTag(MemoryUse use);
  ~MemoryTag();
  MemoryTag(const MemoryTag&) = delete;
  MemoryTag& operator=(const MemoryTag&) = delete;

 private:
  MemoryUse outer_;
};

// The memory of the tensor's storage is for this use from now on. No effect where no meter saw it allocated.
void retag(const at::Tensor& tensor, MemoryUse use);

class MemoryMeter {
 public:
  // CPU, CUDA (of all devices) or meta. Error: there is no such device.
  explicit MemoryMeter(c10::DeviceType device);
  ~MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  MemoryUsage live() const;
  MemoryUsage peak() const;  // when the total was largest
  void reset_peak();
  // Paused, the peak does not move: memory that comes and goes in between is not in it. For plans of fused
  // kernels, whose ATen twins have temporaries.
  void pause(bool paused);

  struct Ledger;

 private:
  friend class MeteredAllocator;
  c10::DeviceType device_;
  std::shared_ptr<Ledger> ledger_;  // outlives the meter in the records of what is still allocated
  MemoryMeter* outer_;
};

}  // namespace orrery
