#include "autograd/unit_trace.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "autograd/observer.h"
#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"

namespace orrery {
namespace {

// The unit keeps everything while this lives, so that the tape tells all.
class KeepAll {
 public:
  explicit KeepAll(Module& unit) : unit_(unit), own_(unit.save_policy) {
    unit.save_policy = std::make_shared<SavePolicy>(std::vector<std::string>{"*"});
  }
  ~KeepAll() { unit_.save_policy = own_; }
  KeepAll(const KeepAll&) = delete;
  KeepAll& operator=(const KeepAll&) = delete;

 private:
  Module& unit_;
  std::shared_ptr<const SavePolicy> own_;
};

void wait_for_device(const Tensors& tensors) {
  for (const at::Tensor& t : tensors)
    if (t.defined() && !t.is_cpu() && !t.is_meta())
      return c10::impl::VirtualGuardImpl(t.device().type()).synchronizeDevice(t.device().index());
}

// Seconds of the ops of one forward, by the place on the tape that each is about to take.
class Stopwatch final : public OpObserver {
 public:
  void before(const OpCall& call) override {
    wait_for_device(call.in);
    begin_ = Clock::now();
  }
  void after(const OpCall&, const Tensors& out) override {
    wait_for_device(out);
    // An op that is not recorded takes no place: the next one overwrites its time.
    seconds[Recording::current()->tape().size()] =
        std::chrono::duration<double>(Clock::now() - begin_).count();
  }
  std::unordered_map<size_t, double> seconds;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_;
};

class Tracer {
 public:
  explicit Tracer(const Module& unit) { trace_.path = unit.path(); }

  void add(const Node& node) {
    TracedOp op;
    op.label = trace_.path.empty() ? node.label() : node.label().substr(trace_.path.size() + 1);
    std::vector<Shape> shapes;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto& [shape, dtype] = node.input_meta[i];
      shapes.push_back(shape);
      if (!node.inputs[i]) continue;
      op.moved_bytes +=
          static_cast<double>(c10::multiply_integers(shape)) * static_cast<double>(c10::elementSize(dtype));
      const auto inside = index_.find(node.inputs[i].get());
      if (inside == index_.end()) {
        mark_outside(*node.inputs[i]);
      } else {
        op.inputs.push_back(inside->second);
        if (node.op->saves_input(i)) op.reads.push_back(inside->second);
      }
    }
    op.engine = node.op->engine();
    op.flops = node.op->forward_flops(shapes);
    add_outputs(node, op);
    trace_.ops.push_back(std::move(op));
  }

  UnitTrace finish() { return std::move(trace_); }

 private:
  void mark_outside(const Value& value) {  // freed weights have no storage, and no views either
    if (value.tensor.defined())
      storages_.emplace(value.tensor.storage().unsafeGetStorageImpl(), TracedValue::kOutside);
  }

  void add_outputs(const Node& node, TracedOp& op) {
    bool makes_storage = false;
    double bytes = 0;
    for (size_t i = 0; i < node.all_outputs.size(); ++i) {
      const auto value = node.all_outputs[i].lock();
      if (!value) continue;  // nobody reads it
      const auto& storage = value->tensor.storage();
      const auto [at, is_new] =
          storages_.emplace(storage.unsafeGetStorageImpl(), trace_.storage_bytes.size());
      if (is_new) trace_.storage_bytes.push_back(static_cast<int64_t>(storage.nbytes()));
      makes_storage = makes_storage || is_new;
      bytes += static_cast<double>(value->tensor.nbytes());
      const size_t index = trace_.values.size();
      index_.emplace(value.get(), index);
      op.outputs.push_back(index);
      if (node.op->saves_output(i)) op.reads.push_back(index);
      trace_.values.push_back({at->second, value->is_result});
    }
    op.moved_bytes = makes_storage ? op.moved_bytes + bytes : 0;
  }

  UnitTrace trace_;
  std::unordered_map<const Value*, size_t> index_;
  std::unordered_map<const void*, size_t> storages_;
};

// The nodes of the unit's call, by their places on the tape.
std::vector<size_t> nodes_of(const Module& unit, const Tape& tape) {
  std::vector<size_t> places;
  bool inside = false, found = false;
  for (size_t i = 0; i < tape.size(); ++i) {
    if (tape[i].scope == &unit && tape[i].kind == Node::Kind::enter) inside = found = true;
    if (tape[i].scope == &unit && tape[i].kind == Node::Kind::leave) inside = false;
    if (inside && tape[i].kind == Node::Kind::op) places.push_back(i);
  }
  require(found, "trace of ", unit.path(), ": the call did not run it");
  return places;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double UnitTrace::forward_seconds() const {
  double total = 0;
  for (const TracedOp& op : ops) total += op.seconds;
  return total;
}

UnitTrace trace_unit(Module& unit, const std::function<Variables()>& forward, int64_t timed_runs) {
  require(!Scope::inside_recompute_unit(), "trace of ", unit.path(), ": inside of another recompute unit");
  const KeepAll keep_all(unit);
  UnitTrace trace;
  std::vector<std::vector<double>> seconds;
  for (int64_t run = 0; run <= timed_runs; ++run) {
    Recording recording;
    Stopwatch stopwatch;
    Variables results;
    if (timed_runs > 0) {
      const Observing observing(stopwatch);
      results = forward();
    } else {
      results = forward();
    }
    const std::vector<size_t> places = nodes_of(unit, recording.tape());
    if (run == 0) {
      Tracer tracer(unit);
      for (const size_t place : places) tracer.add(recording.tape()[place]);
      trace = tracer.finish();
      seconds.resize(places.size());
    } else {
      for (size_t i = 0; i < places.size(); ++i) seconds[i].push_back(stopwatch.seconds.at(places[i]));
    }
  }
  for (size_t i = 0; i < seconds.size() && timed_runs > 0; ++i) trace.ops[i].seconds = median(seconds[i]);
  return trace;
}

}  // namespace orrery
