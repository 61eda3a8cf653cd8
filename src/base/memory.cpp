#include "base/memory.h"

#include <c10/core/Allocator.h>

#include <mutex>
#include <numeric>
#include <unordered_map>

#include "base/device_allocations.h"
#include "base/error.h"

namespace orrery {
namespace {

thread_local MemoryMeter* current_meter = nullptr;
thread_local MemoryUse current_use = MemoryUse::untracked;

constexpr uint8_t kPriority = 100;  // above those of ATen's own allocators

}  // namespace

struct MemoryMeter::Ledger {
  std::mutex mutex;
  MemoryUsage live, peak;
  bool paused = false;

  void add(MemoryUse use, int64_t bytes) {
    const std::lock_guard lock(mutex);
    live[use] += bytes;
    raise_peak();
  }
  void move(MemoryUse from, MemoryUse to, int64_t bytes) {
    const std::lock_guard lock(mutex);
    live[from] -= bytes;
    live[to] += bytes;
    raise_peak();
  }
  void raise_peak() {
    if (!paused && live.total() > peak.total()) peak = live;
  }
};

namespace {

// One metered allocation.
struct Record {
  std::shared_ptr<MemoryMeter::Ledger> ledger;
  MemoryUse use;
  int64_t bytes;
  at::DataPtr memory;
};

// Records of memory in use, by its address, of which CPU and CUDA share one space. ATen's CPU kernels also
// allocate through raw_allocate, which wants the address as the deleter's context, so the record cannot be
// it. (On meta there is no address: there it is.)
struct Records {
  std::mutex mutex;
  std::unordered_map<const void*, std::unique_ptr<Record>> by_address;
  at::DeleterFnPtr free_other = nullptr;  // for what was allocated raw before the meter stood in front

  std::unique_ptr<Record> take(const void* address) {
    const std::lock_guard lock(mutex);
    const auto found = by_address.find(address);
    if (found == by_address.end()) return nullptr;
    auto record = std::move(found->second);
    by_address.erase(found);
    return record;
  }
};
Records& records() {
  static auto& kept = *new Records;  // tensors may be freed after statics are gone
  return kept;
}

void free_cpu(void* address) {
  const std::unique_ptr<Record> record = records().take(address);
  if (record)
    record->ledger->add(record->use, -record->bytes);
  else
    records().free_other(address);
}

void free_meta(void* context) {
  const std::unique_ptr<Record> record(static_cast<Record*>(context));
  record->ledger->add(record->use, -record->bytes);
}

void change_use(Record& record, MemoryUse use) {
  if (record.use != use) record.ledger->move(record.use, use, record.bytes);
  record.use = use;
}

}  // namespace

// Stands in front of ATen's allocator of one device, for good: ATen keeps the pointer.
class MeteredAllocator final : public at::Allocator {
 public:
  explicit MeteredAllocator(at::Allocator& inner) : inner_(inner) {}

  at::DataPtr allocate(size_t bytes) override {
    at::DataPtr memory = inner_.allocate(bytes);
    auto record = recorded(memory.device().type(), static_cast<int64_t>(bytes));
    if (!record) return memory;
    void* const address = memory.get();
    const at::Device device = memory.device();
    record->memory = std::move(memory);
    if (address == nullptr) return {nullptr, record.release(), free_meta, device};
    const std::lock_guard lock(records().mutex);
    records().by_address[address] = std::move(record);
    return {address, address, free_cpu, device};
  }
  at::DeleterFnPtr raw_deleter() const override { return inner_.raw_deleter() ? free_cpu : nullptr; }
  void copy_data(void* dest, const void* src, size_t bytes) const override {
    inner_.copy_data(dest, src, bytes);
  }

  static void install(c10::DeviceType device) {
    if (device == c10::DeviceType::CUDA) return follow_cuda();
    static std::mutex mutex;
    static std::array<MeteredAllocator*, 2> installed{};  // CPU, meta
    const std::lock_guard lock(mutex);
    auto& mine = installed[device == c10::DeviceType::Meta];
    if (mine) return;
    at::Allocator& inner = *c10::GetAllocator(device);
    if (device == c10::DeviceType::CPU) records().free_other = inner.raw_deleter();
    mine = new MeteredAllocator(inner);
    c10::SetAllocator(device, mine, kPriority);
  }

 private:
  // Of an allocation of this thread; null where no meter counts it.
  static std::unique_ptr<Record> recorded(c10::DeviceType device, int64_t bytes) {
    const MemoryMeter* meter = current_meter;
    while (meter && meter->device_ != device) meter = meter->outer_;
    if (!meter || bytes == 0) return nullptr;
    auto record = std::make_unique<Record>(meter->ledger_, current_use, bytes);
    record->ledger->add(record->use, record->bytes);
    return record;
  }
  static void follow_cuda() {
    static const bool is_followed =
        follow_cuda_allocations({.allocated =
                                     [](const void* address, int64_t bytes) noexcept {
                                       auto record = recorded(c10::DeviceType::CUDA, bytes);
                                       if (!record) return;
                                       const std::lock_guard lock(records().mutex);
                                       records().by_address[address] = std::move(record);
                                     },
                                 .freed =
                                     [](const void* address) noexcept {
                                       if (const std::unique_ptr<Record> record = records().take(address))
                                         record->ledger->add(record->use, -record->bytes);
                                     }});
    require(is_followed,
            "memory meter: no CUDA device, a program built without CUDA, or an allocator that does not tell");
  }

  at::Allocator& inner_;
};

std::string_view name_of(MemoryUse use) {
  static constexpr std::array<std::string_view, kNumMemoryUses> kNames = {
      "weights",     "gathered", "gradients",     "optimizer", "averages",
      "activations", "encoders", "communication", "workspace", "untracked"};
  return kNames[static_cast<size_t>(use)];
}

int64_t MemoryUsage::total() const {
  return std::accumulate(bytes.begin(), bytes.end() - 1, int64_t{0});
}

MemoryTag::MemoryTag(MemoryUse use) : outer_(current_use) {
  current_use = use;
}
MemoryTag::~MemoryTag() {
  current_use = outer_;
}

void retag(const at::Tensor& tensor, MemoryUse use) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  const at::DataPtr& memory = tensor.storage().data_ptr();
  if (memory.get_deleter() == &free_meta) change_use(*static_cast<Record*>(memory.get_context()), use);
  if (memory.get_deleter() != &free_cpu && !memory.device().is_cuda()) return;
  const std::lock_guard lock(records().mutex);
  const auto found = records().by_address.find(memory.get());
  if (found != records().by_address.end()) change_use(*found->second, use);
}

MemoryMeter::MemoryMeter(c10::DeviceType device)
    : device_(device), ledger_(std::make_shared<Ledger>()), outer_(current_meter) {
  require(
      device == c10::DeviceType::CPU || device == c10::DeviceType::Meta || device == c10::DeviceType::CUDA,
      "memory meter: device ", c10::Device(device), ", wanted cpu, cuda or meta");
  MeteredAllocator::install(device);
  current_meter = this;
}

MemoryMeter::~MemoryMeter() {
  current_meter = outer_;
}

MemoryUsage MemoryMeter::live() const {
  const std::lock_guard lock(ledger_->mutex);
  return ledger_->live;
}
MemoryUsage MemoryMeter::peak() const {
  const std::lock_guard lock(ledger_->mutex);
  return ledger_->peak;
}
void MemoryMeter::reset_peak() {
  const std::lock_guard lock(ledger_->mutex);
  ledger_->peak = ledger_->live;
}
void MemoryMeter::pause(bool paused) {
  const std::lock_guard lock(ledger_->mutex);
  ledger_->paused = paused;
  ledger_->raise_peak();
}

}  // namespace orrery
