#include "parallel/comm.h"

#include <exception>
#include <numeric>

#include "base/error.h"

namespace orrery {
namespace {

using Kind = Collective::Kind;

int64_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

// Whether the memory of a and b meets, other than b being exactly the piece of a that starts at element
// offset.
bool overlaps(const at::Tensor& a, const at::Tensor& b, int64_t offset = -1) {
  if (a.is_meta()) return false;
  const auto* a0 = static_cast<const char*>(a.const_data_ptr());
  const auto* b0 = static_cast<const char*>(b.const_data_ptr());
  if (a.nbytes() == 0 || b.nbytes() == 0) return false;
  if (offset >= 0 && b0 == a0 + offset * static_cast<int64_t>(a.itemsize())) return false;
  return a0 < b0 + b.nbytes() && b0 < a0 + a.nbytes();
}

thread_local WaitObserver* wait_observer = nullptr;

class SingleComm final : public Comm {
 public:
  SingleComm(c10::DeviceType device, std::string name) : Comm(0, 1, std::move(name)), device_(device) {}
  std::unique_ptr<Comm> split(int64_t, int64_t, std::string name) override {
    return std::make_unique<SingleComm>(device_, std::move(name));
  }

 protected:
  Work start(Collective) override { return {}; }
  c10::DeviceType device() const override { return device_; }

 private:
  c10::DeviceType device_;
};

}  // namespace

std::string_view name_of(Kind kind) {
  static constexpr std::string_view names[] = {"all_reduce", "all_gather", "reduce_scatter",
                                               "all_to_all", "broadcast",  "barrier"};
  return names[static_cast<int>(kind)];
}

std::unique_ptr<Comm> single_rank_comm(std::string name, c10::DeviceType device) {
  return std::make_unique<SingleComm>(device, std::move(name));
}

void Work::wait() {
  const auto pending = std::move(pending_);
  if (!pending) return;
  if (wait_observer) wait_observer->before_wait(title_);
  pending->wait();
  if (wait_observer) wait_observer->after_wait();
}

ObservingWaits::ObservingWaits(WaitObserver& observer) : outer_(std::exchange(wait_observer, &observer)) {}
ObservingWaits::~ObservingWaits() {
  wait_observer = outer_;
}

Work& Work::operator=(Work&& other) noexcept {
  if (this != &other) {
    wait();
    pending_ = std::move(other.pending_);
    title_ = std::move(other.title_);
  }
  return *this;
}

Work::~Work() {
  if (std::uncaught_exceptions() == 0) wait();
}

std::string Comm::describe(const Collective& call) const {
  return text_of(name_of(call.kind), " '", call.label, "' of ", name_, ": ");
}

void Comm::check(const Collective& call, const at::Tensor& tensor) const {
  require(tensor.defined(), describe(call), "undefined tensor");
  const auto dtype = tensor.scalar_type();
  require(dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || dtype == at::kLong ||
              dtype == at::kByte,
          describe(call), "dtype ", dtype, " (wanted: float32, float64, bfloat16, int64 or uint8)");
  require(tensor.device().type() == device(), describe(call), "tensor is on ", tensor.device(), ", wanted ",
          c10::Device(device()));
  require(tensor.is_contiguous(), describe(call), "tensor of shape ", tensor.sizes(), " and strides ",
          tensor.strides(), " is not contiguous");
}

void Comm::check_reduce(const Collective& call) const {
  const auto dtype = call.out.scalar_type();
  require(call.op != ReduceOp::mean || at::isFloatingType(dtype), describe(call), "mean of ", dtype,
          " (wanted: a floating dtype)");
  require(call.op != ReduceOp::sum || dtype != at::kByte, describe(call),
          "a sum of uint8 would wrap (wanted: int64)");
}

void Comm::check_counts(const Collective& call, const Counts& counts, const at::Tensor& tensor) const {
  require(static_cast<int>(counts.size()) == size_, describe(call), counts.size(), " counts for ", size_,
          " ranks");
  for (const int64_t count : counts) require(count >= 0, describe(call), "negative count ", count);
  require(total(counts) == tensor.numel(), describe(call), "counts add up to ", total(counts),
          " but the tensor has ", tensor.numel(), " elements");
}

Counts Comm::equal_counts(const at::Tensor& whole, std::string_view label) const {
  require(whole.defined() && whole.numel() % size_ == 0, "'", label, "' of ", name_, ": ",
          whole.defined() ? whole.numel() : 0, " elements do not divide among ", size_, " ranks");
  return Counts(size_, whole.numel() / size_);
}

Work Comm::launch(Collective call) {
  if (size_ > 1) {
    std::string title = text_of(name_of(call.kind), " '", call.label, "'");
    Work work = start(std::move(call));
    work.title_ = std::move(title);
    return work;
  }
  if (call.in.defined() && !call.leaves_own && !call.in.is_meta() &&
      call.in.const_data_ptr() != call.out.const_data_ptr())
    call.out.view(-1).copy_(call.in.view(-1));
  return {};
}

Work Comm::all_reduce(at::Tensor tensor, ReduceOp op, std::string_view label) {
  Collective call{.kind = Kind::all_reduce, .label = std::string(label), .out = std::move(tensor), .op = op};
  check(call, call.out);
  check_reduce(call);
  return launch(std::move(call));
}

Work Comm::all_gather(at::Tensor out, at::Tensor in, std::string_view label) {
  Counts counts = equal_counts(out, label);
  return all_gather(std::move(out), std::move(in), std::move(counts), label);
}

Work Comm::all_gather(at::Tensor out, at::Tensor in, Counts counts, std::string_view label) {
  Collective call{
      .kind = Kind::all_gather, .label = std::string(label), .out = std::move(out), .in = std::move(in)};
  call.out_counts = std::move(counts);
  check(call, call.out);
  check(call, call.in);
  check_counts(call, call.out_counts, call.out);
  require(call.in.scalar_type() == call.out.scalar_type(), describe(call), "from ", call.in.scalar_type(),
          " to ", call.out.scalar_type());
  require(call.in.numel() == call.out_counts[rank_], describe(call), "input has ", call.in.numel(),
          " elements, counts[", rank_, "] is ", call.out_counts[rank_]);
  const int64_t offset =
      std::accumulate(call.out_counts.begin(), call.out_counts.begin() + rank_, int64_t{0});
  require(!overlaps(call.out, call.in, offset), describe(call), "input and output overlap");
  return launch(std::move(call));
}

Work Comm::reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op, std::string_view label) {
  Counts counts = equal_counts(in, label);
  return reduce_scatter(std::move(out), std::move(in), std::move(counts), op, label);
}

Work Comm::reduce_scatter(at::Tensor out, at::Tensor in, Counts counts, ReduceOp op, std::string_view label) {
  Collective call{
      .kind = Kind::reduce_scatter, .label = std::string(label), .out = std::move(out), .in = std::move(in)};
  call.in_counts = std::move(counts);
  call.op = op;
  check(call, call.out);
  check(call, call.in);
  check_reduce(call);
  check_counts(call, call.in_counts, call.in);
  require(call.in.scalar_type() == call.out.scalar_type(), describe(call), "from ", call.in.scalar_type(),
          " to ", call.out.scalar_type());
  require(call.out.numel() == call.in_counts[rank_], describe(call), "output has ", call.out.numel(),
          " elements, counts[", rank_, "] is ", call.in_counts[rank_]);
  const int64_t offset = std::accumulate(call.in_counts.begin(), call.in_counts.begin() + rank_, int64_t{0});
  require(!overlaps(call.in, call.out, offset), describe(call), "input and output overlap");
  return launch(std::move(call));
}

Work Comm::all_to_all(at::Tensor out, at::Tensor in, std::string_view label) {
  Counts out_counts = equal_counts(out, label), in_counts = equal_counts(in, label);
  return all_to_all(std::move(out), std::move(in), std::move(out_counts), std::move(in_counts), label);
}

Work Comm::all_to_all(at::Tensor out, at::Tensor in, Counts out_counts, Counts in_counts,
                      std::string_view label) {
  return all_to_all({.kind = Kind::all_to_all,
                     .label = std::string(label),
                     .out = std::move(out),
                     .in = std::move(in),
                     .out_counts = std::move(out_counts),
                     .in_counts = std::move(in_counts)});
}

Work Comm::exchange_with_others(at::Tensor out, at::Tensor in, Counts out_counts, Counts in_counts,
                                std::string_view label) {
  return all_to_all({.kind = Kind::all_to_all,
                     .label = std::string(label),
                     .out = std::move(out),
                     .in = std::move(in),
                     .out_counts = std::move(out_counts),
                     .in_counts = std::move(in_counts),
                     .leaves_own = true});
}

Work Comm::all_to_all(Collective call) {
  check(call, call.out);
  check(call, call.in);
  check_counts(call, call.out_counts, call.out);
  check_counts(call, call.in_counts, call.in);
  require(call.in.scalar_type() == call.out.scalar_type(), describe(call), "from ", call.in.scalar_type(),
          " to ", call.out.scalar_type());
  require(call.out_counts[rank_] == call.in_counts[rank_], describe(call), "sends itself ",
          call.in_counts[rank_], " elements, expects ", call.out_counts[rank_]);
  require(!overlaps(call.out, call.in), describe(call), "input and output overlap");
  return launch(std::move(call));
}

Work Comm::broadcast(at::Tensor tensor, int root, std::string_view label) {
  Collective call{.kind = Kind::broadcast, .label = std::string(label), .out = std::move(tensor)};
  call.root = root;
  check(call, call.out);
  require(root >= 0 && root < size_, describe(call), "root ", root, " of ", size_, " ranks");
  return launch(std::move(call));
}

Work Comm::barrier(std::string_view label) {
  return launch({.kind = Kind::barrier, .label = std::string(label)});
}

}  // namespace orrery
